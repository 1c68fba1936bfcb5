namespace AttentionDistillation.Notebooks

/// One measured value: a metric of one variant at one seed. A value that is not finite marks a seed that failed.
type Measurement = {
    Variant: string
    Metric: string
    Seed: int
    Value: float
}

/// One point of a training curve: a loss term (or any quantity) of one variant and seed at a step.
type CurvePoint = {
    Variant: string
    Term: string
    Seed: int
    Step: float
    Value: float
}

/// A published number beside ours. `Paper` and `Ours` may be NaN where there is none; `Deviation` is the standard deviation of ours over seeds (0 or NaN: no bar).
type Comparison = {
    Label: string
    Metric: string
    Paper: float
    Ours: float
    Deviation: float
}

/// What something costs at one length: `Quantity` carries its unit, for example "Time (ms)".
type CostPoint = {
    Variant: string
    Quantity: string
    Length: float
    Value: float
}

/// What something costs and how good it is: a model of a search, a row of a study. `Label` shows where the mouse rests.
type FrontPoint = {
    Group: string
    Label: string
    Cost: float
    Quality: float
}

/// How a distribution is drawn.
[<RequireQualifiedAccess>]
type DistributionStyle =
    /// A density with the quartile box inside.
    | Violin
    /// Quartiles, whiskers and outliers.
    | Box
    /// Every value a point.
    | Strip
