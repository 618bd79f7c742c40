import pytest

for part in ("appending", "clients", "histories", "reading", "samples", "suite"):
    pytest.register_assert_rewrite(f"tests.contracts.journal_{part}")
