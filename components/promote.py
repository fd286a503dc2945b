from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def promote(
    candidate: dsl.Input[dsl.Artifact], why: str, promotion: dsl.Output[dsl.Artifact]
) -> str:
    """Make a candidate the champion, or ask an approver to; returns which it is now.

    See ranzcr.stages.promote.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import promote as stage

    with one_line("promote"):
        result = stage.run(Path(candidate.path), Path(promotion.path), why=why)
    print(result.summary)
    promotion.metadata["version"] = result.version
    return result.version or f"candidate {result.candidate}"
