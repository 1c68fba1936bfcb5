namespace AttentionDistillation.Notebooks

open Plotly.NET
open AttentionDistillation.Analysis
open AttentionDistillation.Attention

/// The figures of a study. Every method returns a Plotly.NET chart: a cell that ends in one shows it, and Plotly.NET's functions
/// (Chart.withTitle, Chart.saveHtml ...) apply. Values are rounded to four significant digits and long inputs are averaged over blocks (the figure says so),
/// so that no figure exceeds half a megabyte. Values that are not finite are left blank.
[<AbstractClass; Sealed>]
type Plot private () =

    /// <summary>One attention map [L, S]: queries down, keys across, probability as colour.</summary>
    /// <param name="maps">A map [L, S], or several: tensor [H, L, S] or [B, H, L, S], arrays, an AttentionState or a ForwardTrace.</param>
    /// <param name="tokens">The sequence's tokens; fewer than positions cuts padding off.</param>
    /// <param name="keyTokens">Tokens of the keys where they differ (cross-attention).</param>
    /// <param name="title">Heading.</param>
    /// <param name="layer">Which layer, from 0; negative counts from the end. Default: the last.</param>
    /// <param name="head">Which head, from 0. Default: the mean over heads.</param>
    /// <param name="batch">Which sequence of a batch. Default 0.</param>
    /// <param name="colourMaximum">Probability at the top of the colour scale. Default: the largest shown.</param>
    /// <exception cref="System.ArgumentException">Empty maps, more tokens than positions, or a layer, head or sequence that does not exist.</exception>
    static member attentionMap
        (
            maps: AttentionMaps,
            ?tokens: string seq,
            ?keyTokens: string seq,
            ?title: string,
            ?layer: int,
            ?head: int,
            ?batch: int,
            ?colourMaximum: float
        ) : GenericChart =
        PlotMaps.attentionMap
            (maps.Sequence(defaultArg batch 0))
            tokens
            keyTokens
            layer
            head
            (defaultArg title "Attention map")
            colourMaximum

    /// <summary>All heads as small maps on one colour scale: layers down and heads across, or the heads of a single layer in a block.</summary>
    /// <param name="maps">Tensor [H, L, S], [B, H, L, S] or [layers, B, H, L, S], arrays, a list of tensors (one per layer), an AttentionState or a ForwardTrace.</param>
    /// <param name="tokens">The sequence's tokens, for the hover; fewer than positions cuts padding off.</param>
    /// <param name="title">Heading.</param>
    /// <param name="batch">Which sequence of a batch. Default 0.</param>
    /// <param name="colourMaximum">Probability at the top of the colour scale. Default: the largest of all.</param>
    /// <exception cref="System.ArgumentException">Empty maps, maps of unequal size, or more tokens than positions.</exception>
    static member headGrid
        (maps: AttentionMaps, ?tokens: string seq, ?title: string, ?batch: int, ?colourMaximum: float)
        : GenericChart =
        PlotHeads.headGrid
            (maps.Sequence(defaultArg batch 0))
            maps.LayerTitles
            tokens
            (defaultArg title "Attention by head")
            colourMaximum

    /// <summary>The heads of one attention call.</summary>
    /// <param name="state">What a forward pass recorded.</param>
    /// <param name="tokens">The sequence's tokens, for the hover; fewer than positions cuts padding off.</param>
    /// <param name="title">Heading.</param>
    /// <param name="batch">Which sequence of the batch. Default 0.</param>
    static member attentionOf(state: AttentionState, ?tokens: string seq, ?title: string, ?batch: int) : GenericChart =
        Plot.headGrid (AttentionMaps.op_Implicit state, ?tokens = tokens, ?title = title, ?batch = batch)

    /// <summary>Teacher, student and student - teacher side by side; the first two share a scale, the difference is centred at 0.</summary>
    /// <param name="teacher">Maps as for attentionMap.</param>
    /// <param name="student">Maps of the same tokens; numbers of layers and heads may differ when each is reduced to one map.</param>
    /// <param name="tokens">The sequence's tokens; fewer than positions cuts padding off.</param>
    /// <param name="title">Heading.</param>
    /// <param name="layer">Which layer of each. Default: the last of each.</param>
    /// <param name="head">Which head of each. Default: the mean over heads.</param>
    /// <param name="batch">Which sequence of a batch. Default 0.</param>
    /// <param name="names">What the two are called. Default ("Teacher", "Student").</param>
    /// <exception cref="System.ArgumentException">Maps of different lengths, empty maps, or more tokens than positions.</exception>
    static member teacherStudent
        (
            teacher: AttentionMaps,
            student: AttentionMaps,
            ?tokens: string seq,
            ?title: string,
            ?layer: int,
            ?head: int,
            ?batch: int,
            ?names: string * string
        ) : GenericChart =
        let batch = defaultArg batch 0

        PlotMaps.comparison
            (teacher.Sequence batch)
            (student.Sequence batch)
            tokens
            layer
            head
            (defaultArg title "Teacher and student attention")
            (defaultArg names ("Teacher", "Student"))

    /// <summary>A statistic per layer and head as a heatmap, the number written into each cell where there is room.</summary>
    /// <param name="values">[layers, heads], for example mean entropies or KL(teacher || student).</param>
    /// <param name="quantity">Name and unit for the colour bar, for example "Entropy (nats)".</param>
    /// <param name="title">Heading.</param>
    /// <param name="centred">True for signed quantities: a diverging scale around 0.</param>
    /// <param name="rowTitle">Default "Layer".</param>
    /// <param name="columnTitle">Default "Head".</param>
    static member layerHead
        (values: Matrix, quantity: string, ?title: string, ?centred: bool, ?rowTitle: string, ?columnTitle: string)
        : GenericChart =
        PlotHeads.layerHead
            (values.Values 0)
            quantity
            (defaultArg title $"{quantity} by layer and head")
            (defaultArg centred false)
            (defaultArg rowTitle "Layer")
            (defaultArg columnTitle "Head")

    /// <summary>Distributions side by side, for example the entropies of all rows, one group per head.</summary>
    /// <param name="groups">Name and values of each group.</param>
    /// <param name="quantity">Name and unit of the values.</param>
    /// <param name="title">Heading.</param>
    /// <param name="groupTitle">Title of the axis of groups, for example "Head".</param>
    /// <param name="style">Violin (default), Box or Strip.</param>
    /// <param name="logarithmic">Logarithmic axis of values.</param>
    static member distributions
        (
            groups: (string * 'Values) seq when 'Values :> float seq,
            quantity: string,
            ?title: string,
            ?groupTitle: string,
            ?style: DistributionStyle,
            ?logarithmic: bool
        ) : GenericChart =
        let groups =
            groups
            |> Seq.map (fun (name, values) -> name, Seq.toArray (values :> float seq))
            |> Seq.toArray

        PlotSeries.distributions
            (if groups.Length = 0 then [||] else [| quantity, groups |])
            (defaultArg title $"Distribution of {quantity}")
            (defaultArg groupTitle "")
            quantity
            (defaultArg style DistributionStyle.Violin)
            (defaultArg logarithmic false)

    /// <summary>A statistic per head, one group per layer, one series per model: entropies or attention distances of teacher and student.</summary>
    /// <param name="series">Name of the model and its values [layers, heads]; numbers of layers and heads may differ.</param>
    /// <param name="quantity">Name and unit of the values, for example "Entropy (nats)".</param>
    /// <param name="title">Heading.</param>
    /// <param name="style">Strip (default: a point per head), Box or Violin.</param>
    static member byLayer
        (series: (string * float[,]) seq, quantity: string, ?title: string, ?style: DistributionStyle)
        : GenericChart =
        let series = [|
            for name, values in series ->
                name,
                [|
                    for layer in 0 .. Array2D.length1 values - 1 -> $"layer {layer}", Array.copy values[layer, *]
                |]
        |]

        PlotSeries.distributions
            series
            (defaultArg title $"{quantity} by layer")
            "Layer (a point per head)"
            quantity
            (defaultArg style DistributionStyle.Strip)
            false

    /// <summary>Training curves. Points of several seeds become a mean line with a band of one standard deviation;
    /// several variants get a panel per term, a single variant shows its terms together.</summary>
    /// <param name="points">Variant, term, seed, step and value of each point.</param>
    /// <param name="title">Heading.</param>
    /// <param name="xTitle">Default "Step".</param>
    /// <param name="yTitle">Default "Loss (nats)".</param>
    /// <param name="logX">Logarithmic steps.</param>
    /// <param name="logY">Logarithmic values.</param>
    static member curves
        (points: CurvePoint seq, ?title: string, ?xTitle: string, ?yTitle: string, ?logX: bool, ?logY: bool)
        : GenericChart =
        PlotCurves.curves
            points
            (defaultArg title "Training curves")
            (defaultArg xTitle "Step")
            (defaultArg yTitle "Loss (nats)")
            (defaultArg logX false)
            (defaultArg logY false)

    /// <summary>KL(teacher || student) of each query row along the sequence, a line per head and their mean.</summary>
    /// <param name="rows">[L], [H, L] or [B, H, L].</param>
    /// <param name="tokens">The sequence's tokens; fewer than positions cuts padding off.</param>
    /// <param name="title">Heading.</param>
    /// <param name="yTitle">Default "KL(teacher || student), nats".</param>
    /// <param name="names">Names of the rows. Default "head 0" and so on.</param>
    /// <param name="batch">Which sequence of a batch. Default 0.</param>
    static member rowDivergence
        (rows: Matrix, ?tokens: string seq, ?title: string, ?yTitle: string, ?names: string seq, ?batch: int)
        : GenericChart =
        PlotCurves.rowDivergence
            (rows.Values(defaultArg batch 0))
            tokens
            (defaultArg title "Divergence along the sequence")
            (defaultArg yTitle "KL(teacher || student), nats")
            names

    /// <summary>One metric of all variants: bars of means with standard deviations over seeds, single seeds as points, a dashed line at the baseline.</summary>
    /// <param name="measurements">Variant, metric, seed and value; a value that is not finite is a failed seed and is left out.</param>
    /// <param name="metric">Which metric; may be left out when there is only one.</param>
    /// <param name="baseline">The variant whose mean the line marks.</param>
    /// <param name="title">Heading. Default: the metric.</param>
    /// <param name="quantity">Name and unit for the axis. Default: the metric.</param>
    /// <exception cref="System.ArgumentException">No finite value, an unknown metric or an unknown baseline; the message lists what exists.</exception>
    static member variants
        (measurements: Measurement seq, ?metric: string, ?baseline: string, ?title: string, ?quantity: string)
        : GenericChart =
        PlotVariants.variants measurements metric baseline (defaultArg title (defaultArg metric "Variants")) quantity

    /// <summary>Published numbers beside ours, a panel per metric (each with its own scale).</summary>
    /// <param name="comparisons">Label, metric, the paper's number, ours and its standard deviation.</param>
    /// <param name="title">Heading.</param>
    /// <param name="bars">True for grouped bars from 0; default false: a point each, joined by a line.</param>
    static member paperVersusOurs(comparisons: Comparison seq, ?title: string, ?bars: bool) : GenericChart =
        PlotPaper.paperVersusOurs comparisons (defaultArg title "Paper and ours") (defaultArg bars false)

    /// <summary>Time or memory against length, both axes logarithmic, a panel per quantity.</summary>
    /// <param name="points">Variant, quantity with unit, length, value (positive; NaN leaves a gap, for example out of memory).</param>
    /// <param name="title">Heading.</param>
    /// <param name="xTitle">Default "Sequence length (tokens)".</param>
    static member costAgainstLength(points: CostPoint seq, ?title: string, ?xTitle: string) : GenericChart =
        PlotSeries.cost points (defaultArg title "Cost against length") (defaultArg xTitle "Sequence length (tokens)")

    /// <summary>Quality against cost: a point each, and the front of those that none at the same cost or below beats.</summary>
    /// <param name="points">Group, label, cost and quality; points that are not finite are left out.</param>
    /// <param name="quantity">Name and unit of the quality, for example "Loss (nats)".</param>
    /// <param name="higherIsBetter">True for accuracies, false for losses.</param>
    /// <param name="title">Heading.</param>
    /// <param name="xTitle">Name and unit of the cost. Default "Parameters".</param>
    /// <param name="logX">Logarithmic costs.</param>
    /// <exception cref="System.ArgumentException">There is no finite point.</exception>
    static member front
        (points: FrontPoint seq, quantity: string, higherIsBetter: bool, ?title: string, ?xTitle: string, ?logX: bool)
        : GenericChart =
        PlotFront.front
            points
            quantity
            higherIsBetter
            (defaultArg title "Quality against cost")
            (defaultArg xTitle "Parameters")
            (defaultArg logX false)

    /// <summary>Images side by side, each with a heading: a gallery. Values are shown from black to white on one scale for all.</summary>
    /// <param name="images">[n, C, H, W], [C, H, W] or [H, W]; C is 1 (grey) or 3 (red, green, blue).</param>
    /// <param name="titles">A heading for each image, for example its label.</param>
    /// <param name="title">Heading of the figure.</param>
    /// <param name="columns">Images in a row. Default: at most 6.</param>
    /// <param name="lowest">The value that is black. Default: the half percentile of all values.</param>
    /// <param name="highest">The value that is white. Default: the 99.5th percentile.</param>
    /// <exception cref="System.ArgumentException">Another shape, another number of channels or of titles, no finite value.</exception>
    static member images
        (images: TorchSharp.torch.Tensor, ?titles: string seq, ?title: string, ?columns: int, ?lowest: float, ?highest: float)
        : GenericChart =
        PlotImages.images
            images
            (titles |> Option.map Seq.toArray |> Option.defaultValue [||])
            (defaultArg title "Images")
            columns
            lowest
            highest

    /// <summary>An image, and beside it the weights of a query (a class token, a distillation token) over its patches, as colour over the image:
    /// head by head, or teacher beside student. The maps may have different numbers of patches.</summary>
    /// <param name="image">[C, H, W] or [H, W].</param>
    /// <param name="maps">Name and weights of each map: the patches row by row, without special tokens.</param>
    /// <param name="title">Heading.</param>
    /// <param name="columns">Panels in a row. Default: at most 5.</param>
    /// <param name="oneScale">One colour scale for all maps. Default: each has its own, from 0 to its largest weight.</param>
    /// <param name="key">A circle drawn into every panel, x, y and radius in pixels: where the object is that matters.</param>
    /// <exception cref="System.ArgumentException">No map, a number of weights that is no grid of square patches, or another shape of the image.</exception>
    static member imageAttention
        (
            image: TorchSharp.torch.Tensor,
            maps: (string * 'Weights) seq when 'Weights :> float seq,
            ?title: string,
            ?columns: int,
            ?oneScale: bool,
            ?key: float * float * float
        ) : GenericChart =
        PlotImages.attention
            image
            [| for name, weights in maps -> name, Seq.toArray (weights :> float seq) |]
            (defaultArg title "Attention over the image")
            columns
            (defaultArg oneScale false)
            key

    /// <summary>Reliability diagrams: accuracy against confidence by bin, a panel per variant; a bar below the diagonal is over-confident.
    /// The share of samples in each bin is the bar's shade.</summary>
    /// <param name="calibrations">Variant and its calibration, whose bins are drawn and whose ECE stands in the heading.</param>
    /// <param name="title">Heading.</param>
    /// <exception cref="System.ArgumentException">No variant, or one without samples.</exception>
    static member reliability(calibrations: (string * Calibration) seq, ?title: string) : GenericChart =
        PlotReliability.reliability (Seq.toArray calibrations) (defaultArg title "Reliability")
