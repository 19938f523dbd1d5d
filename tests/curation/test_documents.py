"""The account of what a stage removed."""

from stages.curation.documents import SAMPLES, Account, Cut
from tests.curation.samples import document

CUT = Cut("step", "reason")


def test_samples_of_what_was_removed_are_bounded_and_the_same_for_any_cut_into_files(tmp_path) -> None:
    rows = [document(f"text {n}") for n in range(3 * SAMPLES)]
    whole, parts = Account(), [Account(), Account()]
    for n, row in enumerate(rows):
        for account in (whole, parts[n % 2]):
            account.take(row)
            account.cut(row, CUT)
    parts[0].merge(parts[1])
    for name, account in (("whole", whole), ("parts", parts[0])):
        (tmp_path / name).mkdir()
        account.write(tmp_path / name)
        assert account.metrics(["step"])["funnel"][0]["documents"] == 3 * SAMPLES
        assert max(map(len, account.samples.values())) <= 2 * SAMPLES
    files = [(tmp_path / name / "removed.parquet").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
