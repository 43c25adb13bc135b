"""Columns of the user's own: every value writes back as it was, whatever comes later."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Done
from embedding import column, told, uris
from hypothesis import given
from hypothesis import strategies as st

from petrieve.store.cache import Cache
from petrieve.store.columns import NAN, carried, plain, typed

Run = Callable[..., Done]


TEXTS = [
    (["007", "07", "7"], "string"),
    (["1E5", "100000"], "string"),
    (["1.0", "1"], "string"),
    (["1.50", "2"], "string"),
    (["+5", "5"], "string"),
    (["-0", "0"], "string"),
    (["12345678901234567890"], "string"),
    (["9007199254740993"], "string"),
    (["1_0", "10"], "string"),
    (["1e400"], "string"),
    (["inf", "1.5"], "string"),
    (["true", "True"], "string"),
    (["20261001"], "int64"),
    (["2026-10-01", "20261002"], "string"),
    (["2026-10-01T12:00:00+02:00"], "string"),
    (["7", None, "-12"], "int64"),
    (["3.5", "4"], "double"),
    (["3.5", "4.0"], "double"),
    (["1e+22", "0.1"], "double"),
    (["TRUE", "FALSE"], "bool"),
    (["2026-10-01", None], "date32[day]"),
    (["2026-10-01 12:00:00"], "timestamp[us]"),
    (["2026-10-01T12:00:00.000250"], "timestamp[us]"),
    (["2026-10-01T12:00:00Z"], "timestamp[us, tz=UTC]"),
]


@pytest.mark.parametrize(("texts", "kind"), TEXTS, ids=lambda one: str(one)[:30])
def test_a_column_is_a_number_or_a_date_only_where_every_value_writes_back_as_it_was(
    texts: list[str | None], kind: str
) -> None:
    field, values = typed("x", texts)
    assert field is not None
    assert str(field.type) == kind
    stored = pa.array(values, field.type).to_pylist()
    as_text = carried([{"x": value} for value in stored], pa.schema([field]), pa.schema([("x", pa.string())]))
    assert [row["x"] for row in as_text] == texts


@given(st.lists(st.none() | st.text("0123456789.-+eE:TZ naN", min_size=1), min_size=1))
def test_whatever_a_column_holds_writes_back_as_it_was(texts: list[str | None]) -> None:
    cells = [plain(text) or None if text else None for text in texts]
    field, values = typed("x", cells)
    if field is not None:
        stored = pa.array(values, field.type).to_pylist()
        back = carried([{"x": value} for value in stored], pa.schema([field]), pa.schema([("x", pa.string())]))
        wanted = [None if cell in NAN and not pa.types.is_string(field.type) else cell for cell in cells]
        assert [row["x"] for row in back] == wanted


def test_what_is_no_number_among_numbers_is_no_value(run: Run, store: Path, drawn: Path) -> None:
    """A filter would take NaN for more than any number."""
    first, second, third = uris(drawn, 3)
    text = f"photo,weight\n{first},3.5\n{second},NaN\n{third},\n"
    assert told(run, drawn, store, text).status == 0
    version = Cache.open(store).version
    assert column(store, "weight") == {first: 3.5}
    assert told(run, drawn, store, text).status == 0
    assert Cache.open(store).version == version, "the same CSV again rewrites nothing"
    found = run("similar", drawn / first, "--store", store, "--where", "weight > 3", "--json").json["neighbours"]
    assert len(found) <= 1


def test_ids_that_only_look_like_numbers_stay_apart(run: Run, store: Path, drawn: Path) -> None:
    ids = ["007", "07", "7", "1E5", "100000"]
    names = uris(drawn, 5)
    assert told(run, drawn, store, "photo,pet_id\n" + "".join(map("{},{}\n".format, names, ids))).status == 0
    assert column(store, "pet_id") == dict(zip(names, ids, strict=True))
    asked = ("--store", store, "-k", 40, "--json")
    grouped = run("similar", drawn / uris(drawn, 9)[-1], *asked, "--group-by", "pet_id").json["neighbours"]
    assert {one["group"] for one in grouped} >= set(ids)


@pytest.mark.parametrize(
    ("before", "later", "after"),
    [
        (["7", "12", None], "A7", ["7", "12"]),
        (["3.5", "4", None], "heavy", ["3.5", "4"]),
        (["3.5", "4.0", None], "heavy", ["3.5", "4.0"]),
        (["2026-10-01", None, "2026-10-02"], "autumn", ["2026-10-01", "2026-10-02"]),
        (["TRUE", "FALSE", None], "perhaps", ["TRUE", "FALSE"]),
        (["2026-10-01T12:00:00Z", None, None], "2026-10-01", ["2026-10-01T12:00:00Z"]),
    ],
)
def test_a_later_csv_with_other_values_makes_a_column_text(
    run: Run, store: Path, drawn: Path, before: list[str | None], later: str, after: list[str]
) -> None:
    *names, last = uris(drawn, 4)
    lines = "".join(f"{name},{value or ''}\n" for name, value in zip(names, before, strict=True))
    assert told(run, drawn, store, "photo,own,other\n" + lines.replace("\n", ",5\n")).status == 0
    done = told(run, drawn, store, f"photo,own,other\n{last},{later},6\n")
    assert (done.status, "column 'own' holds text from now on" in done.err) == (0, True), done.err
    assert sorted(column(store, "own").values()) == sorted([*after, later])
    assert set(column(store, "other").values()) == {5, 6}
    assert run("verify", "--store", store, "--sample", 0, "--json").json["findings"] == []
    version = Cache.open(store).version
    again = told(run, drawn, store, f"photo,own,other\n{last},{later},6\n")
    assert (again.status, again.err, Cache.open(store).version) == (0, "", version)
    assert told(run, drawn, store, f"photo,own\n{last},7\n").status == 0
    assert column(store, "own")[last] == "7"


def test_whole_numbers_get_company_of_fractions_and_stay_numbers(run: Run, store: Path, drawn: Path) -> None:
    first, second = uris(drawn, 2)
    told(run, drawn, store, f"photo,weight\n{first},3\n")
    assert told(run, drawn, store, f"photo,weight\n{second},3.5\n").status == 0
    assert column(store, "weight") == {first: 3.0, second: 3.5}
    assert told(run, drawn, store, f"photo,weight\n{second},heavy\n").status == 0
    assert column(store, "weight") == {first: "3", second: "heavy"}


def test_a_number_in_a_filter_of_text_is_told_how_to_ask(run: Run, store: Path, drawn: Path) -> None:
    first, second = uris(drawn, 2)
    told(run, drawn, store, f"photo,weight\n{first},3.50\n{second},12.25\n")
    asked = ("similar", drawn / uris(drawn, 3)[2], "--store", store, "--json", "--where")
    done = run(*asked, "weight > 4")
    assert (done.status, "`cast(weight as double) > 3`" in done.err) == (1, True), done.err
    assert [Path(one["photo"]).name for one in run(*asked, "cast(weight as double) > 4").json["neighbours"]] == [
        Path(second).name
    ]


def test_a_column_whose_name_differs_by_case_alone_is_no_second_one(run: Run, store: Path, drawn: Path) -> None:
    (name,) = uris(drawn, 1)
    told(run, drawn, store, f"photo,pet_id\n{name},A1\n")
    done = told(run, drawn, store, f"photo,Pet_ID\n{name},A2\n")
    assert (done.status, "has a column 'pet_id', and 'Pet_ID' would be another" in done.err) == (1, True), done.err
    assert column(store, "pet_id") == {name: "A1"}
    assert told(run, drawn, store, f"photo,Size\n{name},small\n").status == 0


def test_a_damaged_row_stays_a_damaged_one_where_a_column_becomes_text(run: Run, store: Path, drawn: Path) -> None:
    import lance

    first, second = uris(drawn, 2)
    told(run, drawn, store, f"photo,own\n{first},3\n")
    lance.dataset(str(store / "photos.lance")).update({"split": "'tset'"}, f"uri = '{second}'")
    Cache.open(store).sign()
    cache = Cache.open(store)
    assert cache.add_columns(pa.schema([("own", pa.string())]))
    cache.sign()
    (finding,) = run("verify", "--store", store, "--sample", 0, "--json").json["findings"]
    assert second in finding["what"]


def test_an_export_of_numbers_comes_back_into_a_column_of_text(
    run: Run, store: Path, drawn: Path, tmp_path: Path
) -> None:
    first, second = uris(drawn, 2)
    told(run, drawn, store, f"photo,own\n{first},3.5\n{second},4.0\n")
    assert run("export", tmp_path / "out", "--store", store).status == 0
    told(run, drawn, store, f"photo,own\n{first},heavy\n")
    assert run("import", tmp_path / "out", "--store", store).status == 0
    assert column(store, "own") == {first: "heavy", second: "4.0"}
