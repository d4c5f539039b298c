import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
from hypothesis import Phase, settings, HealthCheck
from tests.actors.test_live_machine import NodeMachine
class TestMany(NodeMachine.TestCase):
    settings = settings(max_examples=1000, stateful_step_count=50, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None, print_blob=True)
