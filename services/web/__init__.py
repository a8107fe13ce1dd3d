"""The web's side of every house: routes, who calls, bodies, deadlines, and what is answered."""
