import pytest


@pytest.fixture(scope="session")
def ray_session():
    from isthmus.training import ray_session as s

    with s(None, 2):
        yield
