import pytest

pytest.register_assert_rewrite("tests.contracts.room_store_suite")
