import os
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
from hypothesis import Phase as HP, settings, HealthCheck
from flytower.actors import creating, ending, behaviour, living, steps, connector_host, async_service
from flytower.actors.events import *
from flytower.actors import lifecycle
from tests.actors.test_live_machine import NodeMachine
m = os.environ["MUTANT"]
if m == "ended":
    behaviour.TaskBehaviour.ended = lambda self, key, state, exit: self._directory.leave(str(key))
elif m == "find":
    creating._resolve = lambda task: Invoke("create")
elif m == "nodelete":
    ending._begin_delete = lambda task, effects: (task, effects)
elif m == "forgetwish":
    creating.create_recorded.__globals__["confirm_deletes"] = steps.confirm_deletes
    old = creating.create_recorded
    def f(task, event, now): return old(task._replace(wish=False), event, now)
    lifecycle.TABLE[lifecycle.Stage.CREATING][Recorded] = f
elif m == "drain":
    lifecycle.TABLE[lifecycle.Stage.LIVE][Draining] = lambda t, e, n: living.delete_live(t, DeleteAsked(), n)
elif m == "token":
    old = behaviour.TaskBehaviour._ask
    async def ask(self, operation, task): return await old(self, operation, task._replace(id=task.id + str(task.attempts)))
    behaviour.TaskBehaviour._ask = ask
elif m == "finished":
    lifecycle.TABLE[lifecycle.Stage.FINISHED][Wanted] = living.wanted
elif m == "provisional":
    creating._answer_provisionally = lambda task, now: (task, [])
elif m == "jsonmeta":
    lifecycle.TABLE[lifecycle.Stage.LIVE][CreateAsked] = lambda t, e, n: (t, [behaviour.__dict__["Returned"] and __import__("flytower.runtime.entity", fromlist=["Reply"]).Reply(e.promise, t.meta)])
class TestMany(NodeMachine.TestCase):
    settings = settings(max_examples=int(os.environ.get("N", "150")), stateful_step_count=30, deadline=None, phases=[HP.generate], suppress_health_check=list(HealthCheck), database=None)
from collections import Counter
C = Counter()
old_conclude = NodeMachine.teardown
def td(self):
    w = self.world
    try: old_conclude(self)
    finally:
        C["runs"] += 1
        C["kind " + self.kind] += 1
        for k, s in w.systems.items():
            for op, _, _ in s.calls: C[k + " " + op] += 1
        for said in w.calls:
            C[said.method + (" ok" if said.answer is not None else " error " + said.error.status.name if said.error else " hung")] += 1
            if said.answer is not None and b"flytower_task" in said.answer: C["provisional"] += 1
        C["unknown"] += len(w.unknown)
NodeMachine.teardown = td
import atexit; atexit.register(lambda: print(sorted(C.items())))
