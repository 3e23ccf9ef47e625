"""A register of namesakes: customers with the most frequent Chinese names, in a few big cities, born within
few years of each other.

Rows are as shops have them: a whole name, a birth date, a phone, a mail address, a city; some are fragments
of two or three of these. A row mostly keeps its customer's phone or address, else nothing could tell. Some
customers are doubles of another: name and city are equal, and the birth dates are less than two months apart,
or equal but for the year.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

Row = dict[str, str]
# family names, each with how many of a thousand people have it
_FAMILIES = """
王:72 李:72 张:68 刘:54 陈:45 杨:31 黄:22 赵:21 吴:20 周:20 徐:15 孙:14 马:13 朱:12
胡:12 郭:11 何:11 林:11 高:10 罗:10 郑:9 梁:8 谢:8 宋:7 唐:7 许:6 韩:6 冯:6
邓:6 曹:6 彭:5 曾:5 萧:5 田:5 董:5 潘:4 袁:4 蔡:4 蒋:4 余:4 于:4 杜:4
叶:4 程:4 魏:4 苏:4 吕:4 丁:3 任:3 卢:3""".split()
_GIVEN = """
    伟 芳 娜 秀英 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 秀兰 霞 平 刚 桂英 浩 宇 婷 欣怡 子涵 浩然 建国
    建华 志强 海燕 丹 鹏 飞 波 斌 雪 琳 晨 佳 俊 帅 凯 鑫 玲 红 梅 晶
    """.split()
_CITIES = "北京 上海 广州 深圳 成都 杭州 武汉 重庆".split()
_HOSTS = "qq.com 163.com 126.com outlook.com gmail.com".split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _phone(luck: Random) -> str:
    return f"1{luck.choice('3578')}{luck.randrange(10**9):09}"


def _email(luck: Random) -> str:
    handle = "".join(luck.choice(_LETTERS) for _ in range(luck.randint(4, 8)))
    return f"{handle}{luck.randrange(10_000)}@{luck.choice(_HOSTS)}"


def _double(luck: Random, other: Row) -> Row:
    """Somebody else of the same name and city, born nearly when the other was."""
    born = date.fromisoformat(other["birthday"])
    if luck.random() < 0.5:
        apart = timedelta(luck.choice((-1, 1)) * luck.randint(12, 55))
        return {**other, "birthday": f"{born + apart}"}
    year = born.year + luck.choice((-7, -5, -3, 2, 4, 6))
    return {**other, "birthday": f"{born.replace(day=min(born.day, 28), year=year)}"}


def _person(luck: Random) -> Row:
    families, shares = zip(*(family.split(":") for family in _FAMILIES), strict=True)
    return {
        "name": luck.choices(families, [int(share) for share in shares])[0]
        + luck.choices(_GIVEN, [1 / (rank + 4) for rank in range(len(_GIVEN))])[0],
        "birthday": f"{date(1984, 1, 1) + timedelta(luck.randrange(12 * 365))}",
        "city": luck.choice(_CITIES),
    }


def namesakes(luck: Random, customers: int) -> Iterator[Row]:
    """Some 1.8 rows of each customer."""
    person: Row = {}
    for entity in range(customers):
        person = _double(luck, person) if person and luck.random() < 0.2 else _person(luck)
        own = {"phone": _phone(luck), "email": _email(luck)}
        for copy in range(luck.choices((1, 2, 3, 4), (50, 28, 14, 8))[0]):
            row = {**person, **own}
            if copy and luck.random() < 0.3:
                field, another = luck.choice((("phone", _phone), ("email", _email)))
                row[field] = another(luck)
            for field, share in (
                ("name", 0.1),
                ("birthday", 0.3),
                ("city", 0.25),
                ("phone", 0.15),
                ("email", 0.2),
            ):
                if luck.random() < share:
                    row[field] = ""
            yield {"entity": str(entity), **row}
