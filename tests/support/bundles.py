"""What a bundle says of a training that never was."""

from caseunet.bundle import Score, TrainingData

NO_DATA = TrainingData(
    source_format="",
    content_hash="",
    cases=1,
    fold=0,
    split_by="case",
    caution="",
    licence="",
    image_hashes=(),
)
NO_SCORE = Score(protocol="none", step=1, selected="last", mean=None, structures={})
