import pytest
from my_hospital.newest import Newest

from cdsframe.testing import RetrieverContract, check_package, filled_index


def test_options_match_their_targets():
    check_package("my_hospital")


class TestNewest(RetrieverContract):
    finds_all = False  # passages below half of the best score are left out

    @pytest.fixture
    def retriever(self):
        return Newest(top_k=3, num_candidates=50, share=0.5, index=filled_index())
