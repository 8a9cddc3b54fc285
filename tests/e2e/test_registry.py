"""The schema registry, asked by Confluent's own client and serializers: the cases of registry_confluent.py, which also runs alone."""
import pytest
import registry_confluent


@pytest.mark.parametrize("case", registry_confluent.CASES, ids=lambda case: case.__name__)
def test_registry(server, case):
    case(registry_confluent.Asked(server.registry, server.kafka))
