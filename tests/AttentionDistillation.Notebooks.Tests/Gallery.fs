/// Every kind of chart on plausible synthetic data, for tests and for the eye.
module AttentionDistillation.Notebooks.Tests.Gallery

open System
open System.IO
open Plotly.NET
open TorchSharp
open AttentionDistillation.Analysis
open AttentionDistillation.Notebooks

/// Rows of softmax over distances, diagonals and a few sinks: what attention heads look like.
let attentionLike seed length (sharpness: float) : float[,] =
    let random = Random(seed: int)
    let offset, sink, noise = random.Next(-2, 3), random.NextDouble() * 2.0, 0.6

    Array2D.init length length (fun row column ->
        sharpness * -abs(float (column - row - offset)) * 0.35
        + (if column = 0 || column = length - 1 then sink else 0.0)
        + noise * random.NextDouble())
    |> fun scores ->
        let sums =
            Array.init length (fun row -> Seq.sum (seq { for column in 0 .. length - 1 -> exp scores[row, column] }))

        scores |> Array2D.mapi (fun row _ score -> exp score / sums[row])

let heads seed count length =
    Array.init count (fun head -> attentionLike (seed + head) length (0.3 + 0.25 * float head))

let sentence =
    "[CLS] returns the number of elements in the sequence that satisfy a condition or zero when it is empty [SEP]".Split ' '

/// A net of two classes that is sure to every degree, and right so much less often.
let private calibration (slope: float) =
    let sure = [|
        for bin in 8..14 do
            for _ in 1 .. bin * 4 -> (float bin + 0.5) / 15.0
    |]

    use chances =
        torch.tensor (Array2D.init sure.Length 2 (fun row column -> if column = 0 then sure[row] else 1.0 - sure[row]))

    use labels =
        torch.tensor [|
            for index in 0 .. sure.Length - 1 -> if float (index % 20) / 20.0 < slope * sure[index] then 0L else 1L
        |]

    Calibration.OfProbabilities(chances, labels, null)

let private gauss (random: Random) =
    sqrt (-2.0 * log (1.0 - random.NextDouble()))
    * cos (2.0 * Math.PI * random.NextDouble())

let measurements: Measurement[] =
    let random = Random 7

    [|
        for index, variant in
            [
                "no distillation"
                "logit KD"
                "TinyBERT style"
                "attention only"
                "value only"
                "MiniLM"
                "MiniLMv2, 48 relation heads"
            ]
            |> List.indexed do
            for metric, centre, step in [ "kind (%)", 71.2, 2.1; "area (%)", 58.0, 1.7; "pair (%)", 83.1, 0.9 ] do
                for seed in 1..5 do
                    {
                        Variant = variant
                        Metric = metric
                        Seed = seed
                        Value = centre + step * float index ** 0.8 + 0.7 * gauss random
                    }
    |]

let published: Published[] = [|
    for variant, metric, value in
        [
            "MiniLM", "kind (%)", 82.2
            "attention only", "kind (%)", 80.9
            "TinyBERT style", "kind (%)", 81.6
        ] ->
        {
            Variant = variant
            Metric = metric
            Value = value
            Mark = "†"
        }
|]

let curvePoints: CurvePoint[] =
    let random = Random 3

    [|
        for rate, variant in [ 0.010, "attention only"; 0.014, "MiniLM"; 0.018, "MiniLMv2" ] do
            for floor, term in [ 0.05, "attention"; 0.12, "value" ] do
                for seed in 1..3 do
                    for step in 0..10..800 ->
                        {
                            Variant = variant
                            Term = term
                            Seed = seed
                            Step = float step
                            Value = (floor + 1.4 * exp (-rate * float step)) * (1.0 + 0.08 * gauss random)
                        }
    |]

let statistic layers heads (scale: float) =
    let random = Random 11
    Array2D.init layers heads (fun layer _ -> scale * (1.0 + 0.25 * float layer + 0.5 * random.NextDouble()))

let comparisons: Comparison[] = [|
    for index, label in
        [
            "MiniLM 6×384"
            "without value relation"
            "TinyBERT 6×768"
            "DistilBERT 6×768"
        ]
        |> List.indexed do
        for metric, paper in [ "SQuAD2 F1", 75.6; "MNLI-m", 83.3; "SST-2", 91.5 ] ->
            {
                Label = label
                Metric = metric
                Paper = paper - 1.3 * float index
                Ours = paper - 2.5 - 1.1 * float index
                Deviation = 0.4 + 0.1 * float index
            }
|]

let costs: CostPoint[] = [|
    for variant, factor, power in
        [
            "L×L map", 1.0, 2.0
            "attention form", 2.2, 1.25
            "floor: attention itself", 1.4, 1.15
        ] do
        for quantity, unit in [ "Time (ms)", 0.9; "Peak memory (GiB)", 0.25 ] do
            for length in [ 512.0; 1024.0; 2048.0; 4096.0; 8192.0 ] ->
                {
                    Variant = variant
                    Quantity = quantity
                    Length = length
                    Value =
                        if variant = "L×L map" && length > 4096.0 then
                            nan
                        else
                            unit * factor * (length / 512.0) ** power
                }
|]

let charts: (string * Lazy<GenericChart>) list =
    let maps: float[,][] = heads 1 12 sentence.Length
    let layers: float[,][][] = Array.init 12 (fun layer -> heads (100 * layer) 12 64)

    let rows =
        Array2D.init 12 sentence.Length (fun head row -> 0.05 * float (head + 1) * (1.0 + sin (float row * 0.7)) + 0.02)

    let student: float[,][][] = [| heads 1 4 24; heads 9 4 24 |]
    let change: float[,] = statistic 4 4 1.0 |> Array2D.map (fun value -> value - 2.0)
    let random = Random 5

    let entropies count shift =
        Array.init count (fun _ -> shift + 0.4 * gauss random)

    [
        "attention map", lazy Plot.attentionMap (maps, tokens = sentence, title = "Teacher, last layer", head = 3)
        "attention map, 64 positions", lazy Plot.attentionMap (attentionLike 2 64 0.8, title = "A longer map")
        "attention map, 600 positions", lazy Plot.attentionMap (attentionLike 2 600 0.3, title = "A very long map")
        "heads of a layer", lazy Plot.headGrid (maps, tokens = sentence, title = "Heads of the last layer")
        "layers x heads", lazy Plot.headGrid (layers, title = "All heads of the teacher")
        "two layers of four heads", lazy Plot.headGrid (student, title = "All heads of the student")
        "teacher, student, difference", lazy Plot.teacherStudent (maps, heads 40 12 sentence.Length, tokens = sentence, head = 5)
        "images",
        lazy
            (let images =
                AttentionDistillation.Worlds.Images
                    .KeyObjects()
                    .Images(1L, AttentionDistillation.Worlds.Images.ImageSplit.Train, 12)

             use all = images.ToTensor()
             Plot.images (all, titles = images.ClassNames, title = "A key-object image of every class", columns = 4))
        "attention over an image",
        lazy
            (let images =
                AttentionDistillation.Worlds.Images
                    .KeyObjects()
                    .Images(1L, AttentionDistillation.Worlds.Images.ImageSplit.Train, 1)

             use image = images.Image 0
             let key = images.Key 0

             Plot.imageAttention (
                 image,
                 [
                     for patches in [ 4; 8 ] do
                         for head in 0..2 ->
                             $"{patches * patches} patches, head {head}",
                             [
                                 for patch in 1 .. patches * patches -> float (patch * (head + 1) % 7) / 100.0
                             ]
                 ],
                 title = "Class token over the image",
                 key = (key.X, key.Y, key.Radius)
             ))
        "reliability",
        lazy
            Plot.reliability (
                [
                    for name, slope in [ "alone", 0.7; "distilled", 0.95 ] -> name, calibration slope
                ],
                title = "Reliability of two students"
            )
        "entropy heatmap", lazy Plot.layerHead (statistic 12 12 1.0, "Entropy (nats)")
        "signed heatmap", lazy Plot.layerHead (change, "Change", centred = true)
        "violins",
        lazy
            Plot.distributions (
                [ for head in 0..7 -> $"head {head}", entropies 400 (1.0 + 0.2 * float head) ],
                "Entropy (nats)",
                groupTitle = "Head"
            )
        "by layer", lazy Plot.byLayer ([ "teacher", statistic 6 12 1.0; "student", statistic 6 12 0.8 ], "Entropy (nats)")
        "boxes by layer",
        lazy
            Plot.byLayer (
                [ "teacher", statistic 6 12 1.0; "student", statistic 6 12 0.8 ],
                "Distance (tokens)",
                style = DistributionStyle.Box
            )
        "curves by variant", lazy Plot.curves (curvePoints, title = "Distillation loss by term")
        "curves of one variant",
        lazy
            Plot.curves (
                curvePoints |> Array.filter (fun point -> point.Variant = "MiniLM"),
                title = "MiniLM, terms of the loss",
                logY = true
            )
        "row divergence", lazy Plot.rowDivergence (rows, tokens = sentence)
        "variants",
        lazy
            Plot.variants (
                measurements,
                metric = "kind (%)",
                baseline = "no distillation",
                title = "Kind of member",
                quantity = "Test accuracy (%)"
            )
        "paper versus ours", lazy Plot.paperVersusOurs (comparisons, title = "The paper's numbers and ours")
        "paper versus ours, bars", lazy Plot.paperVersusOurs (comparisons, title = "The paper's numbers and ours", bars = true)
        "cost", lazy Plot.costAgainstLength (costs, title = "Forward and backward of one relation loss, H100, bf16")
    ]

/// A page with every chart and a table, readable offline.
let page () =
    let table =
        Table.ofMeasurements (
            Array.append measurements [|
                {
                    Variant = "diverged"
                    Metric = "kind (%)"
                    Seed = 1
                    Value = nan
                }
                {
                    Variant = "diverged"
                    Metric = "kind (%)"
                    Seed = 2
                    Value = 61.25
                }
                {
                    Variant = "diverged"
                    Metric = "pair (%)"
                    Seed = 1
                    Value = nan
                }
            |],
            published = published,
            caption = "Downstream accuracy",
            reference = [ "no distillation" ]
        )

    let body = [
        table.ToHtml()
        for name, chart in charts do
            $"<h3>{name}</h3>" + ChartOutput.html chart.Value
    ]

    $"<!doctype html><html><head><meta charset=\"utf-8\"><script>{PlotlyScript.source.Value}</script></head><body style=\"font-family:sans-serif\">"
    + String.Join("\n", body)
    + "</body></html>"

/// Writes the page where the environment variable PLOT_GALLERY says.
let writeIfAsked () =
    match Environment.GetEnvironmentVariable "PLOT_GALLERY" with
    | null
    | "" -> ()
    | path ->
        File.WriteAllText(path + ".partial", page ())
        File.Move(path + ".partial", path, true)
