"""Words that are written in several ways: of addresses and companies."""

from typing import Final


def _table(text: str) -> dict[str, str]:
    """Return the short form of each word of `street st; road rd`."""
    return dict(pair.split() for pair in text.split(";"))


STREET_WORDS: Final = _table(
    """
    street st; road rd; avenue ave; av ave; drive dr; lane ln; place pl; court ct; crescent cr; cres cr; close
    cl; circuit cct; boulevard blvd; terrace tce; parade pde; highway hwy; square sq; apartment apt; suite
    ste; building bldg; floor fl; mount mt; saint st; north n; south s; east e; west w; village vlge;
    retirement retrmnt; unit u; flat u; strasse str; straße str
    """
)
ORGANISATION_WORDS: Final = _table(
    """
    & and; international intl; manufacturing mfg; services svc; service svc; svcs svc; brothers bros;
    association assoc; university univ; department dept; management mgmt; technologies tech; technology tech;
    systems sys; system sys; solutions solution; engineering eng; development dev; developments dev;
    properties property; holdings holding; investments investment; consultants consulting; consultancy
    consulting; centre center; saint st
    """
)
LEGAL_FORMS: Final = frozenset(
    """
    ab ag and aps as bv cic cio co company corp corporation doo ev gmbh inc incorporated kft kg limitada
    limited llc llp lp ltd ltda mbh nv of ohg oy plc pte pty sa sarl sas se sl spa srl sro the ug zrt
    """.split()
)
