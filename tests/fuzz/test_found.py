"""What fuzzing has found, each told once more in its shortest form."""


def test_a_month_outside_the_years_we_reckon_with_is_refused_by_its_place(world):
    for period in ("0000-01", "9999-12", "1969-12", "2200-01"):
        asked = [
            ("PUT", "/v1/firms/firm-1/billing-terms", {"effective_month": period}),
            ("POST", "/v1/runs", {"period": period}),
            ("GET", f"/v1/invoices?period={period}", None),
        ]
        for method, path, body in asked:
            status, answer = world.call("billing", method, path, body)
            assert (status, len(answer["errors"])) == (422, 1), (path, period, answer)
    terms = {"effective_month": "2199-12", "approval": "none"}
    assert world.call("billing", "PUT", "/v1/firms/firm-9/billing-terms", terms)[0] == 200
