"""The stats of what a stage removed."""

from stages.curation import documents
from stages.curation.documents import SAMPLES_PER_REASON, FilterStats, Removal
from stages.tasks import source_name
from tests.curation.samples import document

REMOVAL = Removal("step", "reason")


def test_samples_of_what_was_removed_are_bounded_and_the_same_for_any_cut_into_files(tmp_path) -> None:
    rows = [document(f"text {n}") for n in range(3 * SAMPLES_PER_REASON)]
    whole, parts = FilterStats(), [FilterStats(), FilterStats()]
    for n, row in enumerate(rows):
        for stats in (whole, parts[n % 2]):
            stats.count_in(row)
            stats.count_removed(row, REMOVAL)
    parts[0].merge(parts[1])
    for name, stats in (("whole", whole), ("parts", parts[0])):
        (tmp_path / name).mkdir()
        stats.write(tmp_path / name)
        assert stats.metrics(["step"])["funnel"][0]["documents"] == 3 * SAMPLES_PER_REASON
        assert max(map(len, stats.samples.values())) <= 2 * SAMPLES_PER_REASON
    files = [(tmp_path / name / "removed.parquet").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_generated_shares_are_by_bucket_and_in_all() -> None:
    sizes = {("math", True): 3, ("math", False): 1, ("code", False): 4, ("general", False): 0}
    assert documents.generated_shares(sizes) == {"math": 0.75, "code": 0.0, "all": 0.375}
    assert documents.is_generated(source_name("arithmetic")) and not documents.is_generated("news")
