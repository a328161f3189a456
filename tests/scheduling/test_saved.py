import json

import pytest

from joulewise.scheduling.plan import plan
from joulewise.scheduling.saved import plan_as_json, plan_from_json, plan_id
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint
from tests.scheduling.conftest import NOW, grid, job


def test_a_plan_survives_its_file():
    """What was saved is read back as the same plan, jobs left out included."""
    jobs = [job(interruptible=Checkpoint(120.0, 1e3)), job(9, 8, name="late")]
    made = plan(jobs, grid([400, 100, 400, 100, 400, 400, 400, 400]), NOW)

    assert plan_from_json(json.loads(json.dumps(plan_as_json(made)))) == made


@pytest.mark.parametrize("told", [{}, {"format": 2}, {"format": 1, "made_utc": "now"}])
def test_what_is_no_plan_is_refused(told):
    """A foreign file, a future format and a broken plan are refused in one line."""
    with pytest.raises(UsageError, match="plan"):
        plan_from_json(told)


def test_a_plan_has_a_name_of_its_own():
    """The same decision has the same name after its file, another decision another one."""
    made = plan([job()], grid([400, 100, 400, 100, 400, 400, 400, 400]), NOW)
    other = plan([job(name="b")], grid([400, 100, 400, 100, 400, 400, 400, 400]), NOW)

    assert plan_id(plan_from_json(plan_as_json(made))) == plan_id(made)
    assert plan_id(other) != plan_id(made)
    assert plan_id(made).startswith(f"plan-{NOW:%Y%m%dT%H%M}-")
