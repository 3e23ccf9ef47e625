"""What each customer concern does at an event, a timer, a union, a division and a view."""
