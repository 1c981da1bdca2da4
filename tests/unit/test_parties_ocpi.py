"""The words of OCPI that the parties share: lists, patches, tokens in headers, envelopes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocn_fast.errors import OcpiError
from ocn_fast.parties import ocpi
from ocn_fast.parties.ocpi import ListQuery, Party

START = datetime(2026, 1, 1, tzinfo=UTC)
THINGS = [{"id": n, "last_updated": ocpi.stamp(START + timedelta(hours=n))} for n in range(10)]


def crawl(query: str, most: int) -> list[int]:
    """All ids along `Link`, as a client collects them."""
    ids: list[int] = []
    url: str | None = f"http://host/things?{query}"
    while url is not None:
        page = ocpi.page(THINGS, ListQuery.of(dict(parse_qsl(url.partition("?")[2]))), most)
        assert len(page.objects) <= most
        ids += [one["id"] for one in page.objects]
        url = ocpi.next_link(page.headers("http://host/things").get("link"))
    return ids


@given(
    limit=st.none() | st.integers(1, 12),
    most=st.integers(1, 12),
    first=st.integers(0, 9),
    after=st.integers(0, 9),
)
def test_every_page_size_gives_the_same_crawl(limit: int | None, most: int, first: int, after: int) -> None:
    query = f"date_from={ocpi.stamp(START + timedelta(hours=first))}"
    query += f"&date_to={ocpi.stamp(START + timedelta(hours=after))}"
    if limit is not None:
        query += f"&limit={limit}"
    assert crawl(query, most) == list(range(first, after)), "date_from is inclusive, date_to exclusive"


def test_the_headers_of_a_page_count_what_the_filters_leave() -> None:
    page = ocpi.page(THINGS, ListQuery.of({"limit": "3", "date_from": "2026-01-01T02:00:00"}), 5)
    assert page.headers("http://host/things") == {
        "link": '<http://host/things?date_from=2026-01-01T02%3A00%3A00.000Z&offset=3&limit=3>; rel="next"',
        "x-total-count": "8",
        "x-limit": "5",
    }


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "-1"},
        {"offset": "x"},
        {"date_from": "yesterday"},
        {"date_to": "2026-13-01T00:00:00Z"},
    ],
)
def test_a_list_refuses_parameters_that_are_none(query: dict[str, str]) -> None:
    with pytest.raises(OcpiError) as refused:
        ListQuery.of(query)
    assert refused.value.status_code == ocpi.INVALID


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<http://a/b?x=1>; rel="next"', "http://a/b?x=1"),
        ("<http://a/b>;rel=next", "http://a/b"),
        ('<http://a/prev>; rel="prev", <http://a/next>; rel="next"', "http://a/next"),
        ('<http://a/b>; rel="prev"', None),
        (None, None),
    ],
)
def test_the_next_link_is_found_among_others(header: str | None, target: str | None) -> None:
    assert ocpi.next_link(header) == target


def test_a_patch_replaces_given_fields_and_appends_charging_periods() -> None:
    session: dict[str, Any] = {"id": "1", "kwh": 1, "charging_periods": [{"n": 1}], "last_updated": "a"}
    grown = ocpi.patched(session, {"kwh": 2, "charging_periods": [{"n": 2}], "last_updated": "b"})
    assert grown == {"id": "1", "kwh": 2, "charging_periods": [{"n": 1}, {"n": 2}], "last_updated": "b"}
    assert ocpi.patched(grown, {"charging_periods": [], "last_updated": "c"})["charging_periods"] == [
        {"n": 1},
        {"n": 2},
    ]
    assert session["kwh"] == 1, "the object itself stays as it was"


def test_a_patch_without_last_updated_is_refused() -> None:
    with pytest.raises(OcpiError) as refused:
        ocpi.patched({"id": "1"}, {"kwh": 2})
    assert refused.value.status_code == ocpi.INVALID


@pytest.mark.parametrize("form", ["Token {plain}", "Token {encoded}", "token {encoded}", "Token {newline}"])
def test_a_token_is_known_plain_and_encoded(form: str) -> None:
    encoded = ocpi.authorization("tok-en").removeprefix("Token ")
    newline = ocpi.authorization("tok-en\n").removeprefix("Token ")
    assert ocpi.is_token(form.format(plain="tok-en", encoded=encoded, newline=newline), "tok-en")


@pytest.mark.parametrize(
    "header", [None, "", "Token", "Token ", "Bearer tok-en", "Token tok-e", "Token tok-en2"]
)
def test_anything_else_is_no_token(header: str | None) -> None:
    assert not ocpi.is_token(header, "tok-en")
    assert not ocpi.is_token(header, None)


def test_an_envelope_carries_raw_data_untouched() -> None:
    raw = rb'{"a":"\/\u00e9","n":1.00}'
    body = ocpi.envelope(ocpi.SUCCESS, raw)
    assert raw in body
    opened = ocpi.read_envelope(body)
    assert opened is not None
    assert bytes(opened.data) == raw
    assert json.loads(body)["status_code"] == 1000


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"data":1}', b"\xff\xfe", b'{"data":' + b"[" * 100_000]
)
def test_what_is_no_envelope_is_none(body: bytes) -> None:
    assert ocpi.read_envelope(body) is None


def test_parties_are_compared_without_case() -> None:
    assert Party.parse("de/cPo") == Party.of("DE", "CPO") == Party.parse("DECPO")
    assert Party.of("DE", "CPO").owns({"country_code": "de", "party_id": "cpo"})
    with pytest.raises(OcpiError):
        Party.parse("D/CPO")


def test_origins_spell_out_default_ports() -> None:
    assert ocpi.origin("http://a/x") == ocpi.origin("http://a:80/y")
    assert ocpi.origin("https://a/x") != ocpi.origin("http://a/x")
    for bad in ("ftp://a", "http://", "http://u@a/", "//a/b", "http://a:x/"):
        with pytest.raises(OcpiError):
            ocpi.origin(bad)
