"""What users may lean on: each package's names are pinned, all are there, and importing a package stays cheap."""

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

FACES = {
    "datasets": """
        Catalog Clicks Dataset FeatureSource RequestBatch Split TableFeatures Users load load_clicks prepare
    """,
    "energy": """
        Attribution Bound CarbonIntensity CarbonSource CodecarbonMeter ConstantSource EnergyAccount EnergyMeter
        EnergyWindow LastKnown Limits LiveMeter PowerModel ReplaySource Sci binding country_source replay_source sci
        share source_for split
    """,
    "loadtest": """
        ArmResult BudgetCourse ClientOptions Judge Kept Progress Rate Requests Trace constant daily from_config generate
        kept play play_async replay spike
    """,
    "models": """
        BareCorpusScorer BareScorer CorpusScorer Costs Flops ModelCosts Scorer calibrate chain_space exclude keep_best
        keep_best_corpus load_model load_pool load_scorer train
    """,
    "report": """
        Report build_report load print_report publish rebuild trajectory_of
    """,
    "reward": """
        Calibration ChainRunner NetworkReward RewardEstimator RewardFeatures RewardManifest RewardOutcome calibrate
        expected_clicks field_rce fields_of load_reward realised_clicks train_reward
    """,
    "pricing": """
        ControllerSettings Frontier ManySolution PriceController PriceDirective PriceDraft PriceNow
        PriceRecord PriceStore Solution StreamSolution assign choose open_store request_hashes solve
        solve_many solve_stream
    """,
    "nearline": """
        Repriced join_run publish_first reprice_job reprice_once value_run window_frontier
    """,
    "serving": """
        Reason Server Source build load_source prepared start
    """,
    "evaluation": """
        Evaluation Plan evaluate
    """,
    "config": """
        ALLOCATOR DEFAULT TRAINED UNRANKED BudgetConfig BudgetFields CarbonConfig CascadeConfig DataConfig
        EnergyConfig Limits LoadConfig ModelConfig ReplicaConfig RewardConfig RunPaths SamplingConfig ScheduledLimits
        Section ServingConfig SplitConfig StageConfig TrainingConfig builtin dump load parse store validated
    """,
}
MODULES = {
    "chains": "Chain ChainSpace Choice ModelCost Stage",
    "client": "Answer AsyncClient BudgetOrder Client Receipt",
    "errors": """
        ArtifactError ConfigError CorruptRecord DataError GreenFlowError InfeasibleBudget InvalidInput LeaseLost
        Overloaded PortInUse PricingInputError Refused ResourceProblem StoreError Unavailable VersionConflict
    """,
    "ragged": "Ragged",
}


@pytest.mark.parametrize("package", FACES)
def test_its_names_are_these_and_lead_somewhere(package: str) -> None:
    face = import_module(f"greenflow_ray.{package}")
    assert sorted(face.__all__) == sorted(FACES[package].split())
    for name in face.__all__:
        assert getattr(getattr(face, name), "__name__", name) == name
    assert not set(face.__all__) & {module.name for module in iter_modules(face.__path__)}


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_names_are_these(module: str) -> None:
    face = import_module(f"greenflow_ray.{module}")
    assert sorted(face.__all__) == sorted(MODULES[module].split())
    assert all(hasattr(face, name) for name in face.__all__)


def test_importing_them_imports_nothing_dear() -> None:
    imports = "; ".join(f"import greenflow_ray.{package}" for package in FACES)
    code = f"import sys; {imports}; print(sorted({{'numpy', 'torch', 'ray'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
