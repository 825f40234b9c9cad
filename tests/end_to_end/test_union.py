"""Two data sets of other layouts and classes as one, from the raw data to the report."""

from pathlib import Path

from caseunet.commands.audit import audit
from caseunet.commands.convert import convert
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config
from tests.support.public_layouts import write_union


def test_a_union_is_trained_and_scored(tiny_config: Config, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_union(raw)
    assert not [f for f in audit(raw, out=tmp_path / "audit").findings if f.level == "error"]
    prepared = prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.info.label_map.names == ("background", "liver", "spleen")
    assert prepared.merged_ids("mine/p0") == (0, 1, 0), "a spleen may lie in what is not liver"
    assert prepared.merged_ids("abdomen/c0") is None
    bundle = train(prepared.folder, out=tmp_path / "run", config=tiny_config)
    told = {case.case: case.dice for case in bundle.info.quality.validated}
    assert all((dice["spleen"] is None) == case.startswith("mine/") for case, dice in told.items())
    predict(bundle.folder, [raw], out=tmp_path / "masks")
    rows = evaluate(tmp_path / "masks", raw, out=tmp_path / "report").cases
    scored = rows[rows["dice"].notna()]
    assert len(set(scored[scored["structure"] == "liver"]["case"])) == 6
    assert set(scored[scored["structure"] == "spleen"]["case"]) <= {f"abdomen/c{i}" for i in range(3)}


def test_a_union_can_be_converted(tmp_path: Path) -> None:
    write_union(tmp_path / "raw")
    done = convert(tmp_path / "raw", to="nnunet", out=tmp_path / "nnunet")
    assert len(done.cases) == 6
    assert any("3 cases are labelled in part" in warning for warning in done.warnings)
