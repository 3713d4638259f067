"""Levels of confidence: how many standard errors they reach, and how far the cost rises there."""


def quantile(level: float, freedoms: int | None) -> float:
    """How many standard errors an interval reaches: of t, or of the normal for None."""
    from scipy import special  # here: SciPy doubles what importing the package costs

    probability(level)
    if freedoms is None:
        return float(special.ndtri((1 + level) / 2))
    return float(special.stdtrit(freedoms, (1 + level) / 2)) if freedoms > 0 else float("nan")


def rise_at(level: float, parameters: int, cost: float, freedoms: int | None) -> float:
    """By how much the cost rises at the edge of a joint confidence region."""
    from scipy import special

    probability(level)
    if freedoms is None:
        return float(special.chdtri(parameters, 1 - level))
    if freedoms < 1:
        raise ValueError("without degrees of freedom the scale of the residuals is unknown")
    f = special.fdtri(parameters, freedoms, level)
    return float(cost / freedoms * parameters * f)


def probability(level: float) -> None:
    """Raise unless ``level`` is one."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
