"""Small pipelines that each break one rule of lint, and are named after it.

The components are named after stages, so that a profile has hardware for them. KFP reads the
annotations themselves, so they are not postponed.
"""

from typing import NamedTuple

from kfp import dsl

component = dsl.component(base_image="python", install_kfp_package=False)


@component
def plan() -> list[dict]:
    return [{"fold": "0"}]


@component
def train(fold: str = "", data: str = "", many: list[str] = []) -> str:  # noqa: B006
    return fold


class Named(NamedTuple):
    verdict: str


@component
def register() -> NamedTuple("Named", verdict=str):  # type: ignore[valid-type]
    return ("pass",)


@component
def prepare(dataset: dsl.Output[dsl.Dataset]):
    pass


@component
def predict(dataset: dsl.Input[dsl.Dataset]):
    pass


@component
def evaluate(datasets: dsl.Input[list[dsl.Dataset]]):
    pass


@dsl.container_component
def bundle():
    return dsl.ContainerSpec(image="debian", command=["true"])


@dsl.pipeline
def sound(folds: list[str]):
    items = plan()
    with dsl.ParallelFor(items.output) as item:
        trained = train(fold=item.fold, many=["a", "b"])
    train(many=dsl.Collected(trained.output))
    train(many=folds)


@dsl.pipeline
def nested_loop(folds: list[str]):
    with dsl.ParallelFor(folds) as fold, dsl.ParallelFor(["a", "b"]) as data:
        train(fold=fold, data=data)


@dsl.pipeline
def outer_output_in_loop(folds: list[str]):
    before = train()
    with dsl.ParallelFor(folds) as fold:
        train(fold=fold, data=before.output)


@dsl.pipeline
def outer_output_in_loop_under_a_condition(folds: list[str]):
    before = train()
    with dsl.ParallelFor(folds) as fold, dsl.If(fold == "a"):
        train(fold=fold, data=before.output)


@dsl.pipeline
def outer_output_in_loop_in_a_text_with_an_item():
    """kfp 2.17 then reads an output that the task of the items does not have."""
    items = plan()
    with dsl.ParallelFor(items.output) as item:
        train(data=f"fold {item.fold}")


@dsl.pipeline
def loop_over_artifacts(datasets: dsl.Input[list[dsl.Dataset]]):
    with dsl.ParallelFor(datasets) as dataset:
        predict(dataset=dataset)


@dsl.pipeline
def loop_in_exit_handler(folds: list[str]):
    with dsl.ExitHandler(plan()), dsl.ParallelFor(folds) as fold:
        train(fold=fold)


@dsl.pipeline
def empty_loop(folds: list[str] = []):  # noqa: B006
    with dsl.ParallelFor(folds) as fold:
        train(fold=fold)


@dsl.pipeline
def loop_key():
    items = plan()
    with dsl.ParallelFor(items.output) as item:
        train(fold=item.name)


@dsl.pipeline
def loop_key_task_name():
    items = plan()
    with dsl.ParallelFor(items.output) as item:
        train(fold=item.task_name)


@dsl.pipeline
def loop_key_channel_type():
    items = plan()
    with dsl.ParallelFor(items.output) as item:
        train(fold=item.channel_type)


@dsl.pipeline
def loop_key_in_static_items():
    with dsl.ParallelFor([{"value": "a"}]) as item:
        train(data=str(item))


@dsl.pipeline
def loop_item_number():
    items = plan()
    with dsl.ParallelFor(items.output) as item, dsl.If(item.fold == 3):
        train()


@dsl.pipeline
def condition_on_named_output():
    registered = register()
    with dsl.If(registered.outputs["verdict"] == "pass"):
        train()


@dsl.pipeline
def none_default(data: str = None):  # noqa: RUF013, the rule refuses it
    train(data=data)


@dsl.pipeline
def one_of_artifacts(data: str) -> dsl.Dataset:
    with dsl.If(data == "a"):
        first = prepare()
    with dsl.Else():
        second = prepare()
    return dsl.OneOf(first.outputs["dataset"], second.outputs["dataset"])


@dsl.pipeline
def after_only():
    train().after(plan())


@dsl.pipeline
def python3_in_text():
    train(data="/opt/python3/data")


@dsl.pipeline
def number_in_list():
    train(many=[1, 2])


@dsl.pipeline
def container_component():
    bundle()


@dsl.pipeline
def run_id_as_input():
    train(data=dsl.PIPELINE_JOB_ID_PLACEHOLDER)


@dsl.pipeline
def secret_in_clear(password: str = "hunter2"):
    train(data=password)


@dsl.pipeline
def secret_in_clear_in_a_constant():
    train(data="postgresql://mlflow:hunter2@db/mlflow")


@dsl.pipeline
def secret_in_clear_in_a_variable():
    train().set_env_variable("AWS_SECRET_ACCESS_KEY", "abc")
