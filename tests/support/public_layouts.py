"""Small made-up data in the exact form of public data sets: the names of their files, and the values of their masks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

VOLUME = (20, 24, 6)
"""Shape of volumes, as NIfTI stores them."""

PICTURE = (40, 48)
"""(rows, columns)."""


def draw_volume(n: int, values: Sequence[int] = (1,)) -> np.ndarray:
    """A mask of boxes of the given values, which lie side by side and differ with ``n``."""
    mask = np.zeros(VOLUME, np.uint8)
    for place, value in enumerate(values):
        row, column = 2 + 5 * (place // 4), 2 + 5 * (place % 4)
        mask[row : row + 3 + n % 2, column : column + 4, 1:5] = value
    return mask


def draw_picture(n: int, value: int = 255) -> np.ndarray:
    """A mask of one box, which differs with ``n``."""
    mask = np.zeros(PICTURE, np.uint8)
    mask[5 : 20 + n % 5, 6 : 25 + n % 7] = value
    return mask


def save_volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-0.8, -0.8, 2.5, 1])), path)


def save_picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def scan(mask: np.ndarray, seed: int, air: int = -1000) -> np.ndarray:
    """An image in which each value of a mask is seen; ``air`` is around."""
    noise = np.random.default_rng(seed).normal(0, 90, mask.shape)
    return np.asarray(np.where(np.indices(mask.shape)[0] < 1, air, 60 * mask + 100 + noise)).round().astype(np.int16)


def photo(mask: np.ndarray, seed: int) -> np.ndarray:
    """A photograph, (H, W, 3), in which the foreground of a mask is seen."""
    rng = np.random.default_rng(seed)
    grey = 40 + 60 * (mask > 0)[..., None] + rng.integers(0, 150, (*mask.shape, 3))
    return np.asarray(grey).astype(np.uint8)


def write_kits(root: Path, cases: int = 4, below: str = "", without: int = 1) -> None:
    """KiTS19, or with ``below`` in ``data/``; kidney 1, tumour 2, cyst 3. The last ``without`` cases have no mask."""
    for n in range(cases):
        folder = root / below / f"case_{n:05d}"
        mask = draw_volume(n, (1, 2, 3))
        save_volume(folder / "imaging.nii.gz", scan(mask, n))
        if n < cases - without:
            save_volume(folder / "segmentation.nii.gz", mask)
    (root / below / "kits.json").write_text(json.dumps([{"case_id": f"case_{n:05d}"} for n in range(cases)]))


def write_kits21(root: Path, cases: int = 4) -> None:
    """KiTS21: ``data/case_00000`` with aggregated masks beside each annotator's."""
    for n in range(cases):
        folder = root / "data" / f"case_{n:05d}"
        mask = draw_volume(n, (1, 2, 3))
        save_volume(folder / "imaging.nii.gz", scan(mask, n))
        for way in ("AND", "MAJ", "OR"):
            save_volume(folder / f"aggregated_{way}_seg.nii.gz", mask)
        for region, value in (("kidney", 1), ("tumor", 2), ("cyst", 3)):
            for annotator in (1, 2, 3):
                name = f"{region}_instance-1_annotation-{annotator}.nii.gz"
                save_volume(folder / "segmentations" / name, (mask == value).astype(np.uint8))
    (root / "data" / "kits.json").write_text("[]")


def write_brats(root: Path, cases: int = 4, values: Sequence[int] = (1, 2, 3), below: str = "") -> None:
    """BraTS 2023; several cases may be of one person: ``BraTS-GLI-00000-000``, ``-001``."""
    for n in range(cases):
        name = f"BraTS-GLI-{n // 2 + 2:05d}-{n % 2:03d}"
        mask = draw_volume(n, values)
        for channel, part in enumerate(("t1c", "t1n", "t2f", "t2w")):
            save_volume(root / below / name / f"{name}-{part}.nii.gz", scan(mask, 10 * n + channel, 0))
        save_volume(root / below / name / f"{name}-seg.nii.gz", mask)


def write_brats20(root: Path, cases: int = 4) -> None:
    """BraTS 2020: values 1, 2 and 4; tables beside the cases, and validation cases without masks."""
    training = root / "MICCAI_BraTS2020_TrainingData"
    for n in range(1, cases + 2):
        name = f"BraTS20_Training_{n:03d}" if n <= cases else "BraTS20_Validation_001"
        folder = (training if n <= cases else root / "MICCAI_BraTS2020_ValidationData") / name
        mask = draw_volume(n, (1, 2, 4))
        for channel, part in enumerate(("flair", "t1", "t1ce", "t2")):
            save_volume(folder / f"{name}_{part}.nii", scan(mask, 10 * n + channel, 0))
        if n <= cases:
            save_volume(folder / f"{name}_seg.nii", mask)
    (training / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\nHGG,BraTS20_Training_001\n")


def write_acdc(root: Path, patients: int = 4) -> None:
    """ACDC: two frames of each patient, and all of them in one file; the last patient is of the test set."""
    for n in range(1, patients + 1):
        part = "testing" if n == patients else "training"
        folder = root / part / f"patient{n:03d}"
        frames = (1, 10 + n)
        for number in frames:
            mask = draw_volume(n + number, (1, 2, 3))
            save_volume(folder / f"patient{n:03d}_frame{number:02d}.nii.gz", scan(mask, 10 * n + number, 0))
            save_volume(folder / f"patient{n:03d}_frame{number:02d}_gt.nii.gz", mask)
        save_volume(folder / f"patient{n:03d}_4d.nii.gz", np.zeros((*VOLUME, 3), np.int16))
        (folder / "Info.cfg").write_text(f"ED: 1\nES: {frames[1]}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\n")
        (folder / "MANDATORY_CITATION.md").write_text("Bernard et al.")


def write_btcv(
    root: Path, images: str = "imagesTr", labels: str = "labelsTr", values: Sequence[int] = (1, 2, 3, 4, 5)
) -> None:
    """BTCV (Synapse): ``img0001`` belongs to ``label0001``; the test images have no masks."""
    for n in (1, 2, 3, 4):
        mask = draw_volume(n, values)
        save_volume(root / images / f"img{n:04d}.nii.gz", scan(mask, n))
        save_volume(root / labels / f"label{n:04d}.nii.gz", mask)
    if images == "imagesTr":
        save_volume(root / "imagesTs" / "img0061.nii.gz", scan(draw_volume(0), 61))


def write_amos(root: Path) -> None:
    """AMOS 2022: a dataset.json as the Decathlon's, with validation images of their own."""
    parts = {"training": "Tr", "validation": "Va", "test": "Ts"}
    listed: dict[str, list[dict[str, str]]] = {part: [] for part in parts}
    for n in range(1, 7):
        part = "training" if n < 5 else "validation" if n == 5 else "test"
        name, mask = f"amos_{n:04d}.nii.gz", draw_volume(n, (1, 2, 3))
        save_volume(root / f"images{parts[part]}" / name, scan(mask, n))
        listed[part].append({"image": f"./images{parts[part]}/{name}"})
        if part != "test":
            save_volume(root / f"labels{parts[part]}" / name, mask)
            listed[part][-1]["label"] = f"./labels{parts[part]}/{name}"
    names = {"0": "background", "1": "spleen", "2": "right kidney", "3": "left kidney"}
    told = {"name": "AMOS", "modality": {"0": "CT"}, "labels": names, "numTraining": 4, "numValidation": 1}
    (root / "dataset.json").write_text(json.dumps(told | {"numTest": 1, **listed}))


def write_totalsegmentator(root: Path, cases: int = 6) -> None:
    """TotalSegmentator: a file for each structure, empty ones too, and a table of the cases between semicolons."""
    rows = ["image_id;age;gender;institute;study_type;split"]
    for n in range(cases):
        name, mask = f"s{n:04d}", draw_volume(n, (1, 2))
        save_volume(root / name / "ct.nii.gz", scan(mask, n))
        for value, structure in enumerate(("liver", "spleen", "rib_left_1"), start=1):
            save_volume(root / name / "segmentations" / f"{structure}.nii.gz", (mask == value).astype(np.uint8))
        part = "test" if n == cases - 1 else "val" if n == cases - 2 else "train"
        rows.append(f"{name};60;m;A;ct abdomen;{part}")
    (root / "meta.csv").write_text("\n".join(rows) + "\n")


def write_isic(root: Path, together: bool = True) -> None:
    """ISIC: photographs and masks together, or in the two folders of a challenge; superpixels beside the images."""
    images = root if together else root / "ISIC2018_Task1-2_Training_Input"
    masks = root if together else root / "ISIC2018_Task1_Training_GroundTruth"
    for n in range(4):
        mask, name = draw_picture(n), f"ISIC_{n:07d}"
        save_picture(images / f"{name}.jpg", photo(mask, n))
        save_picture(images / f"{name}_superpixels.png", photo(mask, n + 50))
        save_picture(masks / f"{name}_segmentation.png", mask)
    (images / "LICENSE.txt").write_text("CC-0")


def write_clinicdb(root: Path) -> None:
    """CVC-ClinicDB: ``Original`` and ``Ground Truth``, TIFF of the same numbers."""
    for n in range(1, 6):
        mask = draw_picture(n)
        save_picture(root / "Original" / f"{n}.tif", photo(mask, n))
        save_picture(root / "Ground Truth" / f"{n}.tif", mask)


def write_glas(root: Path) -> None:
    """GlaS: objects are numbered; parts of a split in the names; a table of grades beside them."""
    for part, number in (("train", 4), ("testA", 2), ("testB", 1)):
        for n in range(1, number + 1):
            seed = n + 10 * len(part) + ord(part[-1])
            mask = np.zeros(PICTURE, np.uint8)
            for value in range(1, 3 + n):
                mask[5 * value : 5 * value + 4, 4 : 20 + seed % 7] = value
            save_picture(root / f"{part}_{n}.bmp", photo(mask, seed))
            save_picture(root / f"{part}_{n}_anno.bmp", mask)
    (root / "Grade.csv").write_text("name,patient ID\ntestA_1,5\n")


def write_chase(root: Path, patients: int = 3, raters: int = 2) -> None:
    """CHASE_DB1: both eyes of each child, and two people's masks of each."""
    for n in range(1, patients + 1):
        for eye in "LR":
            mask = draw_picture(n + (eye == "R"))
            save_picture(root / f"Image_{n:02d}{eye}.jpg", photo(mask, n + 50 * (eye == "R")))
            second = mask.copy()
            second[5:7] = 0
            for name, drawn in (("1stHO", mask), ("2ndHO", second))[:raters]:
                Image.fromarray(drawn > 0).save(root / f"Image_{n:02d}{eye}_{name}.png")


def write_busi(root: Path, kinds: Sequence[str] = ("benign", "malignant", "normal")) -> None:
    """BUSI: folders of kinds; one image has two masks, and those of healthy people are empty."""
    for kind in kinds:
        for n in range(1, 4):
            mask = draw_picture(n) if kind != "normal" else np.zeros(PICTURE, np.uint8)
            other = np.zeros(PICTURE, np.uint8)
            other[30:36, 30:40] = 255
            twice = (kind, n) == ("benign", 2)
            seen = np.maximum(mask, other) if twice else mask
            save_picture(root / kind / f"{kind} ({n}).png", photo(seen, n + 10 * len(kind)))
            Image.fromarray(mask > 0).save(root / kind / f"{kind} ({n})_mask.png")
            if twice:
                Image.fromarray(other > 0).save(root / kind / f"{kind} ({n})_mask_1.png")


def write_dsb2018(root: Path, below: str = "stage1_train") -> None:
    """Data Science Bowl 2018: a folder for each image, and in it a mask for each nucleus, called by hashes."""
    for n in range(4):
        name = f"{n:02d}ae65ba41143e3c090626b18c614b0d8f173f3abb54ed61ea9efbdc172f997a"
        whole = np.zeros(PICTURE, np.uint8)
        for place in range(2 + n):
            nucleus = np.zeros(PICTURE, np.uint8)
            nucleus[6 * place + 2 : 6 * place + 7, 5 : 15 + n] = 255
            whole |= nucleus
            save_picture(root / below / name / "masks" / f"{place}{n}79fe65f24a6f2c15a4ca73ef4f4a.png", nucleus)
        save_picture(root / below / name / "images" / f"{name}.png", photo(whole, n))


def write_bids(root: Path, ending: str = "dseg", labels: str = "derivatives/labels", visits: bool = False) -> None:
    """BIDS: masks are derivatives, in a folder like that of the raw data; other contrasts lie beside."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "made up", "BIDSVersion": "1.8.0"}')
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t50\n")
    for n in range(1, 5):
        for visit in ("ses-1", "ses-2") if visits else ("",):
            name = f"sub-{n:02d}" + (f"_{visit}" if visit else "")
            folder = Path(f"sub-{n:02d}") / visit / "anat"
            mask = draw_volume(n + (visit == "ses-2"), (1,) if "lesion" in ending else (1, 2))
            save_volume(root / folder / f"{name}_T1w.nii.gz", scan(mask, n + 20 * (visit == "ses-2"), 0))
            (root / folder / f"{name}_T1w.json").write_text("{}")
            save_volume(root / labels / folder / f"{name}_{ending}.nii.gz", mask)
    (root / labels / "dataset_description.json").write_text('{"Name": "labels", "BIDSVersion": "1.8.0"}')


def write_nnunet_v1(root: Path) -> None:
    """nnU-Net v1: ``modality`` and ``labels`` as the Decathlon's, and files of channels."""
    listed = []
    for n in range(4):
        mask = draw_volume(n, (1, 2))
        for channel in range(2):
            save_volume(root / "imagesTr" / f"hip_{n:03d}_{channel:04d}.nii.gz", scan(mask, 10 * n + channel, 0))
        save_volume(root / "labelsTr" / f"hip_{n:03d}.nii.gz", mask)
        listed.append({"image": f"./imagesTr/hip_{n:03d}.nii.gz", "label": f"./labelsTr/hip_{n:03d}.nii.gz"})
    told = {"name": "hip", "modality": {"0": "T1", "1": "T2"}, "numTraining": 4, "numTest": 0}
    told |= {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": listed, "test": []}
    (root / "dataset.json").write_text(json.dumps(told))


def write_nnunet_listed(root: Path) -> None:
    """nnU-Net v2 with the files of each case listed in dataset.json; they may lie anywhere."""
    listed = {}
    for n in range(4):
        mask = draw_volume(n, (1, 2))
        for channel in ("T1", "T2"):
            save_volume(root / "scans" / channel / f"p{n}.nii.gz", scan(mask, 10 * n + (channel == "T2"), 0))
        save_volume(root / "drawn" / f"p{n}.nii.gz", mask)
        listed[f"hip_{n:03d}"] = {
            "images": [f"scans/T1/p{n}.nii.gz", f"scans/T2/p{n}.nii.gz"],
            "label": f"drawn/p{n}.nii.gz",
        }
    told = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}
    (root / "dataset.json").write_text(
        json.dumps(told | {"numTraining": 4, "file_ending": ".nii.gz", "dataset": listed})
    )


def write_monai_label(root: Path, without: int = 1) -> None:
    """MONAI Label: ``labels/final``, but for the last ``without``, beside ``labels/original`` of the model."""
    objects = {}
    for n in range(5):
        mask, name = draw_volume(n, (1, 2)), f"spleen_{n}"
        save_volume(root / f"{name}.nii.gz", scan(mask, n))
        labels = {}
        for tag in ("final", "original"):
            if tag == "original" or n < 5 - without:
                drawn = mask if tag == "final" else draw_volume(n + 1, (1,))
                save_volume(root / "labels" / tag / f"{name}.nii.gz", drawn)
                labels[tag] = {"ext": ".nii.gz", "info": {"params": {"label_names": {"spleen": 1, "liver": 2}}}}
        objects[name] = {"image": {"ext": ".nii.gz", "info": {}}, "labels": labels}
    (root / "datastore_v2.json").write_text(json.dumps({"name": "x", "description": "", "objects": objects}))


def write_flat_nifti(root: Path) -> None:
    """Pictures as NIfTI files of two axes."""
    for n in range(4):
        mask = draw_picture(n, 1)
        for folder, array in (("images", scan(mask, n, 0)), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / folder / f"p{n}.nii.gz")


WRITERS: dict[str, Callable[[Path], None]] = {
    name.removeprefix("write_"): writer for name, writer in sorted(globals().items()) if name.startswith("write_")
}


def write_union(root: Path, cases: int = 3, below: str = "abdomen") -> None:
    """nnU-Net's form with liver and spleen in ``below``, and a folder with livers alone in ``mine``, as one."""
    folder = root / below / "Dataset001_Abdomen"
    for n in range(cases):
        mask = draw_volume(n, (1, 2))
        save_volume(folder / f"imagesTr/c{n}_0000.nii.gz", scan(mask, seed=n))
        save_volume(folder / f"labelsTr/c{n}.nii.gz", mask)
        livers = draw_volume(n + cases, (255,))
        save_volume(root / f"mine/images/p{n}.nii.gz", scan(livers // 255, seed=n + cases))
        save_volume(root / f"mine/masks/p{n}.nii.gz", livers)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    write_union_file(root, mine={"classes": {"foreground": "Liver"}, "layout": "folder"}, abdomen={"path": below})


def write_union_file(root: Path, **entries: dict[str, object]) -> None:
    """The list of a union's data sets; each lies in the folder of its name, unless its entry says another."""
    listed = [{"path": name, "name": name, **entry} for name, entry in sorted(entries.items())]
    (root / "datasets.json").write_text(json.dumps({"datasets": listed}))
