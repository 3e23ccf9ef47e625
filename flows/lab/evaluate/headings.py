"""How the columns are called that `eval` looks for, in English, German, French, Spanish and Chinese: what is
surest first."""

CUSTOMER = tuple(
    """
    customer_id customer_no customer_number customer user_id user client_id client member_id member
    account_id account buyer_id buyer
    kundennummer kundennr kunden_id kunde kundin mitglied käufer numéro_client client_no
    acheteur id_cliente cliente comprador
    客户编号 客户号 客户代码 客户id 会员编号 会员号 会员卡号 会员id
    用户编号 用户id 用户号 顾客编号 顾客id 买家id 客户 会员 用户 顾客 买家
    id
    """.split()
)
TIME = tuple(
    """
    time timestamp ts date datetime invoicedate created day
    zeitpunkt zeitstempel datum zeit uhrzeit bestellt_am tag horodatage heure fecha hora
    下单时间 购买时间 付款时间 支付时间 成交时间 交易时间 下单日期 购买日期 交易日期 订单日期 时间 日期
    """.split()
)
VALUE = tuple(
    """
    value amount total revenue spend price sales
    betrag umsatz summe gesamtpreis preis montant prix importe precio
    实付金额 支付金额 订单金额 消费金额 交易金额 总金额 金额 总价 实付 销售额 价格 单价
    """.split()
)
QUANTITY = tuple("quantity qty units menge anzahl stückzahl quantité cantidad 数量 件数".split())
LABEL = tuple(
    """
    label target class outcome converted conversion response fraud churn is_fraud y
    ergebnis zielwert betrug abgewandert gekauft résultat fraude resultado
    标签 标记 是否流失 是否欺诈 是否购买 是否成交 是否转化 是否响应 流失 欺诈 结果 类别
    """.split()
)
# Of a price that is of one piece: as words, or within one.
OF_ONE = (
    "unit",
    "unitprice",
    "each",
    "unitaire",
    "unitario",
)
OF_ONE_WITHIN = ("einzelpreis", "stückpreis", "单价")
