"""What a value looks like, whatever its field is called: for a report to people, who know what it is.

It is more than `flows.logic.fields.personal` takes out, and less sure: a mobile number under any name, a
landline, an address, an IP address, a number plate, a date of birth where the name of the field says so, and
what may be somebody's name. Of names only most values of a field can tell: 白色 and 高档 begin with surnames,
and `Blue Shirt` is written as a name is.
"""

import re
from ipaddress import ip_address
from typing import Final

from flows.logic.fields import regions
from flows.logic.fields.field_names import Said, words_of
from flows.logic.fields.personal import Personal
from flows.logic.fields.values import plain

TEXT_MAX: Final = 256  # characters of a value that are looked at
NAME: Final = "name"
PERHAPS: Final = "?"  # behind a kind: `phone?`
# The hundred and twenty or so that nine of ten people in China have.
_SURNAMES: Final = (
    "王李张刘陈杨黄赵周吴徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢"
    "姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常"
    "汤康易乔赖文葛洪倪樊兰殷施安岳牛尤翁耿关齐庄温俞柳章鲁欧翟柯梅"
)
_TWO: Final = ("欧阳", "上官", "司马", "诸葛", "皇甫", "尉迟", "令狐", "慕容", "长孙", "宇文", "司徒", "东方")
_CHINESE_NAME: Final = re.compile(
    rf"(?:{'|'.join(_TWO)})[\u4e00-\u9fff]{{1,2}}|[{_SURNAMES}][\u4e00-\u9fff]{{1,2}}"
)
_WESTERN_NAME: Final = re.compile(
    r"[A-Z][a-zà-ÿ]+(?:-[A-Z][a-zà-ÿ]+)? (?:[A-Z]\. )?"
    r"(?:Mc|Mac|O'|de |van |von )?[A-Z][a-zà-ÿ]+(?:-[A-Z][a-zà-ÿ]+)?"
)
# Words of a field's name that say that it is called after a thing.
_THINGS: Final = frozenset(
    "product item sku brand category colour color size material style title plan event page screen status"
    " type kind city province region country state campaign coupon store shop channel department level"
    " model version os browser device language tag tags label currency unit variant theme genre".split()
)
_BIRTH_WORDS: Final = frozenset("birth born birthday birthdate dob bday bdate".split())
_BIRTH_CHINESE: Final = ("生日", "出生", "生辰")
_LANDLINE: Final = re.compile(r"\(?0\d{2,3}\)?[- ]?\d{7,8}(?:-\d{1,6})?")
_PLATE: Final = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z][·• ]?[A-Z0-9]{5,6}"
)
_IP: Final = re.compile(r"[0-9A-Fa-f:.]{4,45}")
_DOOR: Final = re.compile(r"\d+(?:-\d+)* ?[号號弄栋幢室]|[路街道巷村][^,，]{0,12}\d")
_STREET: Final = re.compile(
    r"\d{1,5}[A-Za-z]? (?:[A-Z][A-Za-z.']+ ){1,3}(?:St|Street|Rd|Road|Ave|Avenue|Ln|Lane|Blvd|Dr|Drive|Way)\b"
    r"|[A-ZÄÖÜ][a-zäöüß]+(?:straße|strasse|weg|platz) \d+"
)


def kind_of(field: str, text: str, personal: Personal, year: int) -> tuple[str, str] | None:
    """Return what the value of a field looks like, and the part that does; None where it looks like nothing.

    `field`: its own name; `year` of receipt. Under the name of a number or code a number of somebody is one
    only perhaps (`PERHAPS`)."""
    stated = plain(text[:TEXT_MAX])
    if not stated:
        return None
    said = personal.said_by(field)
    if (found := personal.first(stated, Said.OPEN, year)) is not None:
        kind, part = found
        is_sure = said is not Said.CODE or personal.first(stated, said, year) is not None
        return (kind if is_sure else f"{kind}{PERHAPS}", part)
    if said is not Said.CODE and (match := _LANDLINE.fullmatch(stated)):
        return "phone", match[0]
    if match := _PLATE.search(stated):
        return "plate", match[0]
    if said is not Said.CODE and _IP.fullmatch(stated) and _is_public(stated):
        return "ip", stated
    if _is_address(stated):
        return "address", stated
    if any(map(str.isdigit, stated)):
        return ("birthday", stated) if _is_birth(field) and len(stated) <= 32 else None
    return (NAME, stated) if _is_name(field, stated) else None


def masked(kind: str, part: str) -> str:
    """Return as much of it as shows what it is, and not whose.

    >>> masked("phone", "13800135678"), masked("name", "欧阳小明"), masked("email", "ana@shop.example")
    ('138****5678', '欧***', 'a***@s***')
    """
    match kind.removesuffix(PERHAPS):
        case "phone":
            digits = "".join(filter(str.isdigit, part.removeprefix("+86")))
            return f"{digits[:3]}****{digits[-4:]}"
        case "email":
            name, _, domain = part.replace("%40", "@").partition("@")
            return f"{name[:1]}***@{domain[:1]}***"
        case "id_number":
            return f"{part[:4]}****"
        case "bank_card":
            return f"****{part[-4:]}"
        case "name":
            return " ".join(f"{word[:1]}***" for word in part.split(" "))
        case "address":
            return f"{regions.of_text(part).region or part[:1]}***"
        case "ip":
            first, sign, _ = part.partition("." if "." in part else ":")
            return f"{first}{sign}***"
        case _:
            return f"{part[:2]}***"


def _is_public(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    """A street with a door, or a place with one."""
    if _STREET.search(text):
        return True
    return (
        len(text) >= 6
        and _DOOR.search(text) is not None
        and (regions.of_text(text).region != "" or any(sign in text for sign in "区县镇乡路街巷弄"))
    )


def _is_birth(field: str) -> bool:
    return not _BIRTH_WORDS.isdisjoint(words_of(field)) or any(word in field for word in _BIRTH_CHINESE)


def _is_name(field: str, text: str) -> bool:
    if not _THINGS.isdisjoint(words_of(field)):
        return False
    return bool(_CHINESE_NAME.fullmatch(text) or _WESTERN_NAME.fullmatch(text))
