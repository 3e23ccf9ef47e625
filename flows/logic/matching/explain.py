"""A verdict in words, for the person who has to decide: `family name equal (rare), date of birth one digit
apart, phone differs`."""

from functools import lru_cache
from typing import Final, Literal

from flows.logic.matching.verdict import Verdict

Language = Literal["en", "zh"]
_FIELDS_ZH: Final = {
    "given_name": "名",
    "family_name": "姓",
    "full_name": "姓名",
    "swapped_names": "姓与名对调",
    "date_of_birth": "出生日期",
    "phone": "电话",
    "email": "邮箱",
    "street": "街道地址",
    "street_2": "地址补充",
    "house_number": "门牌号",
    "city": "城市",
    "district": "区县",
    "state": "省份",
    "postcode": "邮编",
    "country": "国家",
    "national_id": "证件号码",
    "tax_id": "税号",
    "organisation": "单位",
    "gender": "性别",
    "occupation": "职业",
    "birth_place": "出生地",
    "website": "网站",
    "middle_name": "中间名",
}
_LEVELS_ZH: Final = {
    "equal": "相同",
    "close": "相近",
    "similar": "相似",
    "short form": "为简称",
    "one digit apart": "差一位",
    "one character apart": "差一个字符",
    "two of three parts equal": "年月日中两项相同",
    "same year": "年份相同",
    "a year apart": "相差一年",
    "same name part": "用户名相同",
    "part of it": "为其一部分",
    "same area": "地区相同",
    "same district": "分区相同",
    "one word shared": "有一词相同",
    "differs": "不同",
}


def explain(verdict: Verdict, language: Language = "en") -> list[str]:
    """Return one phrase for each comparison, what speaks most for or against first."""
    say = _in_chinese if language == "zh" else _in_english
    return [say(one.field, one.level, one.rare) for one in verdict.evidence]


@lru_cache(1024)
def _in_english(field: str, level: str, rare: bool) -> str:
    if field == "swapped_names":
        return "given and family name swapped"
    return f"{field.replace('_', ' ')} {level}{' (rare)' if rare else ''}"


@lru_cache(1024)
def _in_chinese(field: str, level: str, rare: bool) -> str:
    named = _FIELDS_ZH.get(field, field)
    if field == "swapped_names":
        return named
    return f"{named}{_LEVELS_ZH.get(level, level)}{'（罕见）' if rare else ''}"
