module AttentionDistillation.Notebooks.Tests.PlotTests

open System
open System.Text.Json
open Plotly.NET
open TorchSharp
open Xunit
open AttentionDistillation.Attention
open AttentionDistillation.Notebooks
open AttentionDistillation.Notebooks.Tests.Figures

/// Half of what a notebook output may hold: the figure is stored as JSON and inside HTML.
[<Literal>]
let private LargestFigure = 490_000

[<Fact>]
let ``every chart is valid JSON, has data, a title and a fixed size, and fits an output`` () =
    for name, chart in Gallery.charts do
        let json = ChartOutput.json chart.Value
        Assert.True(json.Length < LargestFigure, $"{name} has {json.Length} characters")
        Assert.True(ChartOutput.html(chart.Value).Length + json.Length < 1_000_000, name)
        let figure = JsonDocument.Parse(json).RootElement
        Assert.True(figure.GetProperty("data").GetArrayLength() > 0, name)
        let layout = figure.GetProperty "layout"
        Assert.InRange(layout.GetProperty("width").GetInt32(), 300, Theme.Width)
        Assert.NotEmpty(nonNull (layout.GetProperty("title").GetProperty("text").GetString()))

    Gallery.writeIfAsked ()

[<Fact>]
let ``an attention map holds its probabilities to four digits and names its tokens apart`` () =
    let map = array2D [ [ 0.123456; 0.876544 ]; [ 0.5; 0.5 ] ]
    let figure = parse (Plot.attentionMap (map, tokens = [ "<s>"; "<s>" ]))
    let heat = trace 0 figure
    let values = rows (heat.GetProperty "z")
    Assert.Equal<float[]>([| 0.1235; 0.8765 |], values[0])
    Assert.Equal<string[]>([| "&lt;s&gt; (0)"; "&lt;s&gt; (1)" |], strings (heat.GetProperty "x"))
    Assert.Contains("query", heat.GetProperty("hovertemplate").GetString())

[<Fact>]
let ``tensors of every rank and float type and plain arrays give the same picture`` () =
    let map = array2D [ [ 0.25; 0.75 ]; [ 0.5; 0.5 ] ]
    use tensor = TensorInterop.ofArray [ 2; 2 ] (Seq.cast<float> map)
    use half = tensor.``to`` torch.ScalarType.BFloat16
    use heads = tensor.unsqueeze 0L
    use batch = heads.unsqueeze(0L).repeat(2L, 1L, 1L, 1L)
    let expected = ChartOutput.json (Plot.attentionMap map)
    Assert.Equal(expected, ChartOutput.json (Plot.attentionMap tensor))
    Assert.Equal(expected, ChartOutput.json (Plot.attentionMap half))
    Assert.Equal(expected, ChartOutput.json (Plot.attentionMap heads))
    Assert.Equal(expected, ChartOutput.json (Plot.attentionMap (batch, batch = 1)))
    let jagged = [| [| 0.25; 0.75 |]; [| 0.5; 0.5 |] |]
    Assert.Equal(expected, ChartOutput.json (Plot.attentionMap jagged))

[<Fact>]
let ``an attention state and a trace become a grid of their heads`` () =
    torch.random.manual_seed 1L |> ignore
    use q = torch.randn (2L, 3L, 5L, 4L)
    use mask = torch.ones (2L, 5L, dtype = torch.ScalarType.Bool)
    let state = AttentionState(q, q, q, mask, true)
    let figure = parse (Plot.attentionOf (state, batch = 1))
    Assert.Equal(3, figure.GetProperty("data").GetArrayLength())
    let first = rows ((trace 0 figure).GetProperty "z")
    Assert.All(first, fun row -> Assert.Equal(1.0, Array.sum row, 2))
    Assert.Equal(0.0, first[0][1])

    let trace' =
        ForwardTrace(TraceRequest.AllAttention, TraceCapabilities("two layers", 2))

    trace'.RecordAttention(0, state)
    trace'.RecordAttention(1, state)
    Assert.Equal(6, (parse (Plot.headGrid trace')).GetProperty("data").GetArrayLength())

[<Fact>]
let ``fewer tokens than positions cut padding off`` () =
    let figure =
        parse (Plot.attentionMap (Gallery.attentionLike 1 8 1.0, tokens = [ "a"; "b"; "c" ]))

    Assert.Equal(3, (rows ((trace 0 figure).GetProperty "z")).Length)

[<Fact>]
let ``a long map is averaged over blocks and says so`` () =
    let map = Array2D.create 1000 1000 0.001
    let json = ChartOutput.json (Plot.attentionMap map)
    Assert.Contains("each cell is the mean of", json)
    Assert.True(json.Length < LargestFigure)
    let values = rows ((trace 0 (JsonDocument.Parse(json).RootElement)).GetProperty "z")
    Assert.Equal(0.001, values[0][0], 6)

[<Theory>]
[<InlineData(24, 16, 256)>]
[<InlineData(12, 12, 64)>]
[<InlineData(1, 12, 512)>]
let ``grids of many heads stay below the limit`` layers heads length =
    let map = Gallery.attentionLike 3 length 0.4
    let maps: float[,][][] = Array.init layers (fun _ -> Array.create heads map)
    let tokens = List.replicate length "token"
    Assert.True(ChartOutput.json(Plot.headGrid (maps, tokens = tokens)).Length < LargestFigure)

[<Fact>]
let ``many long curves stay below the limit`` () =
    let points: CurvePoint[] = [|
        for variant in 1..8 do
            for term in 1..4 do
                for seed in 1..2 do
                    for step in 0..1999 ->
                        {
                            Variant = $"v{variant}"
                            Term = $"t{term}"
                            Seed = seed
                            Step = float step
                            Value = sin (float (step * seed * variant))
                        }
    |]

    Assert.True(ChartOutput.json(Plot.curves points).Length < LargestFigure)

[<Fact>]
let ``the difference of teacher and student is centred at zero`` () =
    let teacher, student =
        array2D [ [ 1.0; 0.0 ]; [ 0.5; 0.5 ] ], array2D [ [ 0.6; 0.4 ]; [ 0.5; 0.5 ] ]

    let figure = parse (Plot.teacherStudent (teacher, student))
    Assert.Equal<float[]>([| -0.4; 0.4 |], (rows ((trace 2 figure).GetProperty "z"))[0])
    let colours = figure.GetProperty("layout").GetProperty "coloraxis2"
    Assert.Equal(-0.4, colours.GetProperty("cmin").GetDouble(), 6)
    Assert.Equal(0.4, colours.GetProperty("cmax").GetDouble(), 6)

[<Fact>]
let ``curves show the mean over seeds and a band of one sample standard deviation`` () =
    let points: CurvePoint[] = [|
        for seed, shift in [ 1, -1.0; 2, 0.0; 3, 1.0 ] do
            for step in 0.0 .. 1.0 ->
                {
                    Variant = "v"
                    Term = "loss"
                    Seed = seed
                    Step = step
                    Value = 10.0 + step + shift
                }
    |]

    let figure = parse (Plot.curves points)
    Assert.Equal<float[]>([| 11.0; 12.0; 10.0; 9.0 |], numbers ((trace 0 figure).GetProperty "y"))
    Assert.Equal<float[]>([| 10.0; 11.0 |], numbers ((trace 1 figure).GetProperty "y"))

[<Fact>]
let ``logarithmic axes write round numbers out`` () =
    let points: CostPoint[] = [|
        for length, value in [ 512.0, 30.0; 8192.0, 4000.0 ] ->
            {
                Variant = "v"
                Quantity = "Time (ms)"
                Length = length
                Value = value
            }
    |]

    let layout = (parse (Plot.costAgainstLength points)).GetProperty "layout"
    let shown = strings (layout.GetProperty("yaxis").GetProperty "ticktext")
    Assert.Contains("50", shown)
    Assert.Contains("2,000", shown)
    Assert.Equal<string[]>([| "512"; "8192" |], strings (layout.GetProperty("xaxis").GetProperty "ticktext"))

[<Fact>]
let ``values that are not finite are null in JSON`` () =
    let map = array2D [ [ nan; infinity ]; [ 0.5; -infinity ] ]
    let json = ChartOutput.json (Plot.attentionMap map)
    Assert.DoesNotContain("NaN", json)
    Assert.DoesNotContain("Infinity", json)
    let heat = trace 0 (JsonDocument.Parse(json).RootElement)
    Assert.Equal<float[]>([| nan; nan |], (rows (heat.GetProperty "z"))[0])
    let own = Chart.Line(x = [ 1.0; 2.0 ], y = [ nan; 3.0 ])
    Assert.DoesNotContain("NaN", ChartOutput.json own)

[<Fact>]
let ``failed seeds are left out of bars`` () =
    let one variant seed value : Measurement = {
        Variant = variant
        Metric = "accuracy"
        Seed = seed
        Value = value
    }

    let figure =
        parse (Plot.variants ([ one "a" 1 1.0; one "a" 2 3.0; one "b" 1 nan; one "b" 2 4.0 ], baseline = "a"))

    Assert.Equal<float[]>([| 2.0; 4.0 |], numbers ((trace 0 figure).GetProperty "customdata"))
    Assert.Equal(3, (numbers ((trace 2 figure).GetProperty "x")).Length)

[<Fact>]
let ``wrong input is refused with a remedy`` () =
    let map = Gallery.attentionLike 1 4 1.0

    Assert.Contains(
        "Pass the tokens of the same sequence",
        message (fun () -> Plot.attentionMap (map, tokens = List.replicate 5 "x"))
    )

    Assert.Contains("at least one query", message (fun () -> Plot.attentionMap (Array2D.zeroCreate<float> 0 0)))
    Assert.Contains("there are 1", message (fun () -> Plot.attentionMap (map, head = 3)))
    Assert.Contains("same tokens", message (fun () -> Plot.teacherStudent (map, Gallery.attentionLike 1 5 1.0)))
    Assert.Contains("Pass at least one", message (fun () -> Plot.curves []))
    Assert.Contains("Pass at least one", message (fun () -> Plot.variants []))
    Assert.Contains("Pass at least one", message (fun () -> Plot.costAgainstLength []))
    Assert.Contains("Pass at least one", message (fun () -> Plot.paperVersusOurs []))
    Assert.Contains("Pass at least one", message (fun () -> Plot.distributions (List.empty<string * float list>, "x")))

    Assert.Contains(
        "There are: kind (%), area (%), pair (%)",
        message (fun () -> Plot.variants (Gallery.measurements, metric = "speed"))
    )

    Assert.Contains("Choose one", message (fun () -> Plot.variants Gallery.measurements))

    let bad: CostPoint = {
        Variant = "v"
        Quantity = "Time (ms)"
        Length = 512.0
        Value = 0.0
    }

    Assert.Contains("positive", message (fun () -> Plot.costAgainstLength [ bad ]))
    use tensor = torch.zeros (4L)
    Assert.Contains("[4]", message (fun () -> Plot.attentionMap tensor))
    use batch = torch.zeros (2L, 1L, 3L, 3L)
    Assert.Contains("batch = 0 to 1", message (fun () -> Plot.attentionMap (batch, batch = 2)))

[<Fact>]
let ``the front holds what nothing cheaper beats`` () =
    let point label cost quality : FrontPoint = {
        Group = "all"
        Label = label
        Cost = cost
        Quality = quality
    }

    let points = [
        point "a" 1.0 0.5
        point "b" 2.0 0.4
        point "c" 3.0 0.45
        point "d" 4.0 0.1
        point "broken" nan 0.0
    ]

    let figure = parse (Plot.front (points, "Loss", higherIsBetter = false))
    Assert.Equal<string[]>([| "a"; "b"; "d" |], strings ((trace 0 figure).GetProperty "text"))
    Assert.Equal(4, (strings ((trace 1 figure).GetProperty "text")).Length)
    let better = parse (Plot.front (points, "Accuracy", higherIsBetter = true))
    Assert.Equal<string[]>([| "a" |], strings ((trace 0 better).GetProperty "text"))
    Assert.Contains("finite points", message (fun () -> Plot.front ([ point "x" nan nan ], "Loss", true)))
