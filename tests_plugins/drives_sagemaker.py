"""What is asked of SageMaker's connectors."""

from __future__ import annotations

from typing import Any

from tests_plugins.drives import ROLE, Driven
from tests_plugins.site import Site, Wanted

REGION = "us-east-1"

MACHINE = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}

TRAINING = {
    "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File"},
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
    "ResourceConfig": MACHINE,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}

BEST = "FakeTrainingJobName"
"""What moto says of every tuning job: that this training job was the best. The connector looks it up."""


def sagemaker(site: Site) -> Driven:
    """Have a model served, and jobs of all kinds run."""
    return {
        "boto": _boto(site),
        "sagemaker-endpoint": site.live_and_die(*(_endpoint(name) for name in ("short", "endless"))),
        "sagemaker-processing-job": site.live_and_die(*(_processing(name) for name in ("short", "endless"))),
        "sagemaker-processing-task": site.live_and_die(*(_function("processing", n) for n in ("short", "endless"))),
        "sagemaker-training-job": site.succeed(_job("training", TRAINING | {"TrainingJobName": BEST})),
        "sagemaker-training-task": site.succeed(_function("training", "short")),
        "sagemaker-transform-job": site.succeed(_transform()),
        "sagemaker-hyperparameter-tuning-job": site.succeed(_tuning()),
    }


def _boto(site: Site) -> str:
    """Make a model, and a configuration of endpoints that serve it."""
    container = {"Image": "image:1", "ModelDataUrl": "s3://bucket/model"}
    model = {"ModelName": "model", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
    variant = {"VariantName": "v", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m4.xlarge"}
    config = {"EndpointConfigName": "config", "ProductionVariants": [variant]}
    for method, asked in {"create_model": model, "create_endpoint_config": config}.items():
        done = site.do(Wanted("boto", {"service": "sagemaker", "region": REGION, "method": method, "config": asked}))
    return done


def _job(kind: str, config: dict[str, Any]) -> Wanted:
    return Wanted(f"sagemaker-{kind}-job", {"config": config, "region": REGION})


def _endpoint(name: str) -> Wanted:
    config = {"EndpointName": name, "EndpointConfigName": "config"}
    return Wanted("sagemaker-endpoint", {"config": config, "region": REGION})


def _processing(name: str) -> Wanted:
    config = {
        "ProcessingJobName": f"processing-{name}",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image:1"},
        "ProcessingResources": {"ClusterConfig": MACHINE},
    }
    return _job("processing", config)


def _function(kind: str, name: str) -> Wanted:
    custom = {"execution_role_arn": ROLE, "region": REGION, "job_name_prefix": f"{kind}-{name}-"}
    return Wanted(f"sagemaker-{kind}-task", custom, args=["pyflyte-execute"])


def _transform() -> Wanted:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in"}}
    config = {
        "TransformJobName": "transform",
        "ModelName": "model",
        "TransformInput": {"DataSource": source},
        "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
        "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
    }
    return _job("transform", config)


def _tuning() -> Wanted:
    limits = {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}
    config = {
        "HyperParameterTuningJobName": "tuning",
        "HyperParameterTuningJobConfig": {"Strategy": "Bayesian", "ResourceLimits": limits},
        "TrainingJobDefinition": TRAINING,
    }
    return _job("hyperparameter-tuning", config)
