"""Headings of unknown tables."""

import pytest

from flows.logic.matching import guess_fields


@pytest.mark.parametrize(
    ("heading", "field"),
    [
        ("surname", "family_name"),
        ("First Name", "given_name"),
        ("dateOfBirth", "date_of_birth"),
        ("dob", "date_of_birth"),
        ("address_1", "street"),
        ("address_2", "street_2"),
        ("street_number", "house_number"),
        ("suburb", "city"),
        ("postcode_fake", "postcode"),
        ("zip", "postcode"),
        ("plz", "postcode"),
        ("Vorname", "given_name"),
        ("Nachname", "family_name"),
        ("Familienname", "family_name"),
        ("Geburtsdatum", "date_of_birth"),
        ("Geburtsort", "birth_place"),
        ("Ort", "city"),
        ("Wohnort", "city"),
        ("Straße", "street"),
        ("Strasse", "street"),
        ("Hausnummer", "house_number"),
        ("Postleitzahl", "postcode"),
        ("Land", "country"),
        ("Nom", "family_name"),
        ("Prénom", "given_name"),
        ("date de naissance", "date_of_birth"),
        ("Ville", "city"),
        ("code postal", "postcode"),
        ("adresse", "street"),
        ("Téléphone", "phone"),
        ("Store Name", "organisation"),
        ("vendorName", "organisation"),
        ("supplier_name", "organisation"),
        ("School name", "organisation"),
        ("Account Name", "organisation"),
        ("account_name", "organisation"),
        ("Patient Name", "full_name"),
        ("Member name", "full_name"),
        ("门店名称", "organisation"),
        ("店名", "organisation"),
        ("供应商名称", "organisation"),
        ("联系人", "full_name"),
        ("联系人电话", "phone"),
        ("store_phone", "phone"),
        ("门店地址", "street"),
        ("Geschlecht", "gender"),
        ("forename", "given_name"),
        ("fname", "given_name"),
        ("given", "given_name"),
        ("lname", "family_name"),
        ("last", "family_name"),
        ("birth_date", "date_of_birth"),
        ("birthdate", "date_of_birth"),
        ("year_of_birth", "date_of_birth"),
        ("first_and_surname", "full_name"),
        ("gender", "gender"),
        ("occupation", "occupation"),
        ("legal_name", "organisation"),
        ("firm", "organisation"),
        ("addr1", "street"),
        ("address", "street"),
        ("country", "country"),
        ("domain", "website"),
        ("vat_number", "tax_id"),
        ("registration_number", "tax_id"),
        ("出生日期", "date_of_birth"),
        ("手机", "phone"),
        ("soc_sec_id", "national_id"),
        ("birth_place", "birth_place"),
        ("company", "organisation"),
        ("sex", "gender"),
        ("手机号", "phone"),
        ("姓名", "full_name"),
        ("Favourite Tea", "favourite_tea"),
    ],
)
def test_meaning(heading: str, field: str) -> None:
    assert guess_fields([heading], [{heading: "green"}, {heading: "black"}]) == {heading: field}


@pytest.mark.parametrize(
    "heading",
    [
        "id",
        "rec_id",
        "unique_id",
        "cluster",
        "entity_id",
        "Unnamed: 0",
        "recid",
        "customer_id",
        "uuid",
        "master_id",
        "truth",
        "voter_id",
    ],
)
def test_what_holds_the_answer_is_never_a_field(heading: str) -> None:
    assert guess_fields([heading], [{heading: "a1"}, {heading: "b2"}]) == {}


def test_a_serial_number_under_any_name_is_no_field() -> None:
    rows = [{"nonsense": f"Q{number}-1", "surname": "x" * (number % 7)} for number in range(100)]
    assert guess_fields(["nonsense", "surname"], rows) == {"surname": "family_name"}


def test_the_same_name_put_together_twice_counts_once() -> None:
    headings = ["full_name", "first_and_surname", "first_name", "surname"]
    rows = [dict.fromkeys(headings, value) for value in ("a", "b")]
    assert guess_fields(headings, rows) == {
        "full_name": "full_name",
        "first_name": "given_name",
        "surname": "family_name",
    }


def test_a_plain_name_is_of_a_person_where_the_table_speaks_of_persons() -> None:
    rows = [{"name": "a", "dob": "b", "city": "c"}, {"name": "d", "dob": "e", "city": "f"}]
    assert guess_fields(["name", "dob"], rows)["name"] == "full_name"
    assert guess_fields(["name", "city"], rows)["name"] == "organisation"


def test_values_tell_what_a_heading_does_not() -> None:
    rows = [{"kontakt": f"anna{number}@example.com", "nothing": ""} for number in range(20)]
    assert guess_fields(["kontakt", "nothing"], rows) == {"kontakt": "email"}


def test_without_a_known_heading_the_column_that_reads_like_names_is_the_name() -> None:
    rows = [
        {"oznaka": f"{'abcdefgh'[n % 8]}lto {'mnopq'[n % 5]}ira", "miasto": f"Lodz {n % 3}", "kod": f"k{n}"}
        for n in range(40)
    ]
    assert guess_fields(["kod", "miasto", "oznaka"], rows)["oznaka"] == "organisation"
    people = [{**row, "gender": "mf"[n % 2]} for n, row in enumerate(rows)]
    assert guess_fields(["oznaka", "gender"], people)["oznaka"] == "full_name"
    families = [{**row, "surname": f"s{n}"} for n, row in enumerate(rows)]
    assert guess_fields(["oznaka", "surname"], families)["oznaka"] == "given_name"
    known = [{**row, "dob": f"19{n:02}-01-02"} for n, row in enumerate(rows, 10)]
    assert guess_fields(["oznaka", "dob"], known)["oznaka"] == "oznaka"
    assert guess_fields(["miasto"], rows)["miasto"] == "miasto"
    assert guess_fields(["oznaka"], rows[:5])["oznaka"] == "oznaka"
