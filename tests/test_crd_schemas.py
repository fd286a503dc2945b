"""Schemas and rules of definitions report errors, also for rules that cannot be evaluated."""

from __future__ import annotations

import crd_schemas
import pytest

DEFINITION = """
spec:
  group: example.com
  names: {kind: Crate}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              properties:
                size: {type: integer, minimum: 1}
                least: {type: integer, default: 2}
                lid: {type: string, enum: [flat, round]}
                weight: {x-kubernetes-int-or-string: true}
                note: {type: string, nullable: true}
                labels:
                  type: object
                  additionalProperties: {type: string}
                  x-kubernetes-validations:
                    - rule: self.all(key, key.find('^[^/]+') != 'example.com')
                      message: example.com is ours
                items:
                  type: array
                  items:
                    type: object
                    properties: {name: {type: string}, grade: {type: string}}
                    x-kubernetes-validations: [{rule: self.grade != 'bad'}]
                extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
                price:
                  type: string
                  x-kubernetes-validations: [{rule: quantity(self).isLessThan(quantity('1'))}]
              x-kubernetes-validations:
                - rule: "!has(self.size) || self.size >= self.least"
                  message: too small
                - {rule: self == oldSelf, message: never changes}
"""


@pytest.fixture(scope="module")
def crate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("definitions")
    (folder / "crates.yaml").write_text(DEFINITION)
    return crd_schemas.load(folder)["example.com/v1", "Crate"]


def thing(**spec):
    metadata = {"name": "c", "namespace": "n"}
    return {"apiVersion": "example.com/v1", "kind": "Crate", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"size": 2, "lid": "flat", "weight": "3Gi", "note": None, "extra": {"any": [1]}},
        {"size": 1, "least": 1, "weight": 3, "labels": {"other.com/a": "b"}},
        {"items": [{"name": "a", "grade": "good"}]},
    ],
)
def test_a_good_object_passes(crate, spec):
    assert crate.problems(thing(**spec)) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"sise": 2}, "$.spec: Additional properties are not allowed ('sise' was unexpected)"),
        ({"size": "2"}, "$.spec.size: '2' is not of type 'integer'"),
        ({"size": 0}, "$.spec.size: 0 is less than the minimum of 1"),
        ({"lid": "square"}, "$.spec.lid: 'square' is not one of ['flat', 'round']"),
        ({"lid": None}, "$.spec.lid: None is not"),
        ({"weight": 1.5}, "$.spec.weight: 1.5 is not valid under any of the given schemas"),
        ({"labels": {"a": 1}}, "$.spec.labels.a: 1 is not of type 'string'"),
        ({"items": [{"nome": "a"}]}, "('nome' was unexpected)"),
        ({"size": 1}, "$.spec: too small"),  # `least` by default
        ({"labels": {"example.com/a": "b"}}, "$.spec.labels: example.com is ours"),
        ({"items": [{"grade": "bad"}]}, "$.spec.items.0: self.grade != 'bad'"),
        ({"items": [{"name": "a"}]}, "cannot be run: no such member in mapping: 'grade')"),
        ({"price": "2"}, "cannot be run: undeclared reference to 'isLessThan'"),
    ],
)
def test_an_error_is_reported(crate, spec, message):
    (line, *_) = crate.problems(thing(**spec))
    assert message in line


def test_a_missing_field_is_reported(crate):
    incomplete = thing()
    del incomplete["spec"]
    assert crate.problems(incomplete) == ["$: 'spec' is a required property"]
