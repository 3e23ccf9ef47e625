"""What customers are asked, and what follows from their answers."""

from typing import Literal

from schemas.config.limited_values import Table, Text, Word
from schemas.units import Duration

Before = Literal["opt_in", "opt_out"]


class Purpose(Table, frozen=True):
    """What data is used for, and what customers are contacted for. Consent is stated by its name, such as
    `consent.marketing = false`; finer by `consent.marketing.sms` (a channel) or `consent.marketing.location`
    (a category of data)."""

    name: Word  # what triggers, actions and statements call it
    required: bool = False  # it is the service itself, which is not asked for
    data: tuple[Word, ...] = ()  # categories of data that it uses; empty: all
    before: Before | None = None  # as `consent.before`, for this purpose
    stated_by: tuple[Text, ...] = ()  # ids of banners and apps that mean it as well, as they spell them
    # a yes counts only where the customer has confirmed it: by a code, or to an app whose key `confirms`
    confirm: bool = False


class Consent(Table, frozen=True):
    """What holds before a customer has said anything, and what may be asked. See docs/privacy.md."""

    before: Before = "opt_out"  # opt_in: nothing without a yes; opt_out: everything until a no
    regions: dict[str, Before] = {}  # the same by country of the customer, such as `{CN = "opt_in"}`
    # what holds for events that carry no consent of their own: the customer's word; only what is required;
    # everything
    unstamped: Literal["profile", "deny", "allow"] = "profile"
    confirm_to: tuple[Word, ...] = ()  # connectors that hand a code to the customer
    confirm_for: Duration = Duration.parse("15m")  # how long a code holds
    purpose: tuple[Purpose, ...] = (  # without an entry: these six
        Purpose(name="service", required=True, data=("contact", "transaction", "device", "text")),
        Purpose(name="security", required=True, data=("transaction", "device")),
        Purpose(name="marketing"),
        Purpose(name="sales", data=("contact", "transaction", "text")),
        Purpose(name="personalisation", stated_by=("personalization", "recommendation")),
        Purpose(name="sharing", before="opt_in", stated_by=("sale_or_sharing",), confirm=True),
    )


class Category(Table, frozen=True):
    """What belongs to a category of data, beside what is known to: a purpose uses categories, and a customer
    may refuse one (`consent.location = false`)."""

    name: Word  # such as `location`
    fields: tuple[Text, ...] = ()  # names of traits and properties, however they are spelled
    events: tuple[Text, ...] = ()  # events that as a whole are of it; others are `behaviour`
