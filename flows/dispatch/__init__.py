"""How triggers leave: dispatcher, loop, attempts, and the one door before every send."""
