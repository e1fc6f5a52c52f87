"""What ganenc asks of a plugin, of its generator and of its model: each check is a test of its own."""

from collections.abc import Callable

from ganenc.testing import parametrize_with_checks


@parametrize_with_checks(["ripples-gan"])
def test_the_contract_is_kept(check: Callable[[], None]) -> None:
    check()
