from repose.metrics import provenance


def test_lines_have_the_digest_of_their_text() -> None:
    assert provenance.digest(["a", "b"]) != provenance.digest(["ab"])
    assert (
        provenance.digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )  # sha256 of nothing
