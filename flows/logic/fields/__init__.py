"""What a customer's stated fields are worth: validated and normalised on entry, and completed from one
another.

Pure: no clock, no server. What depends on the moment (is this birthday in the future?) gets it as an
argument.

    values      what a check says: `Good` or `Bad`
    phones      E.164, with the country from the context
    emails      syntax, IDN, disposable domains, plus-tags and dots
    documents   resident ID, credit code, passport, bank card
    dates       in many forms, never guessed
    texts       names and addresses: width and spacing
    places      country, province, city, postal code, locale, time zone
    check       one event's traits, by the kinds that the configuration gives them
    completion  what was derived, from what, and how sure that is
    quality     counts by source and field, exactly once
    repeats     the same content again, under another messageId
    free_text   what people write, without what is personal in it
"""
