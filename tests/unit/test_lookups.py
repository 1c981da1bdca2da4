"""What strangers may cost in SQL: the budget, the memory of what is unknown, and the bound of that memory."""

from ocn_fast.config import Auth
from ocn_fast.lookups import REMEMBERED, LookUps


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_A49_as_many_as_the_setting_says_and_not_one_more() -> None:
    clock = Clock()
    look_ups = LookUps(Auth(sql_lookups_per_s=3), clock)
    assert [look_ups.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 1 / 3 + 0.001
    assert [look_ups.take() for _ in range(2)] == [True, False]


def test_A49_a_long_rest_saves_up_no_more_than_a_second() -> None:
    clock = Clock()
    look_ups = LookUps(Auth(sql_lookups_per_s=3), clock)
    look_ups.give_back()
    clock.now += 60
    assert [look_ups.take() for _ in range(4)] == [True, True, True, False]


def test_what_is_given_back_can_be_taken_again() -> None:
    look_ups = LookUps(Auth(sql_lookups_per_s=1), Clock())
    assert look_ups.take()
    look_ups.give_back()
    assert [look_ups.take() for _ in range(2)] == [True, False]


def test_unknown_until_its_time_is_over() -> None:
    clock = Clock()
    look_ups = LookUps(Auth(negative_ttl_s=2), clock)
    assert not look_ups.is_unknown("token")
    look_ups.remember("token")
    clock.now += 1.999
    assert look_ups.is_unknown("token")
    clock.now += 0.001
    assert not look_ups.is_unknown("token")


def test_the_memory_is_bounded() -> None:
    look_ups = LookUps(Auth(), Clock())
    for key in range(REMEMBERED):
        look_ups.remember(key)
    assert look_ups.is_unknown(0)
    assert look_ups.is_unknown(REMEMBERED - 1)
    look_ups.remember(REMEMBERED)
    assert look_ups.is_unknown(REMEMBERED)
    assert not look_ups.is_unknown(0)
