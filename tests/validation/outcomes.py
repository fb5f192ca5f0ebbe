"""What tests ask of an outcome."""

from repose.validation.expectations import Check, Outcome


def failed(outcome: Outcome) -> list[str]:
    """The names of all checks that failed."""
    return [check.name for check in outcome.checks if not check.passed]


def named(outcome: Outcome, name: str) -> Check:
    """The check of this name."""
    return next(check for check in outcome.checks if check.name == name)
