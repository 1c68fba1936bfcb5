module AttentionDistillation.Notebooks.Tests.FormattersTests

open System
open System.Collections.Generic
open System.IO
open System.Text.Json
open Deedle
open Microsoft.DotNet.Interactive.Formatting
open Plotly.NET
open TorchSharp
open Xunit
open AttentionDistillation.Attention
open AttentionDistillation.Experiments
open AttentionDistillation.Losses
open AttentionDistillation.Notebooks
open AttentionDistillation.Runtime

let private show (value: obj) (mime: string) =
    Formatters.register ()
    Formatter.ToDisplayString(value, mime)

let private preferred (value: obj) =
    Formatters.register ()
    Formatter.GetPreferredMimeTypesFor(value.GetType()) |> Seq.toList

[<Fact>]
let ``charts appear as figure JSON first, then as HTML without the script`` () =
    let chart =
        Chart.Line(x = [ 1; 2 ], y = [ 3.5; 4.5 ])
        |> Chart.withTitle "A </script> title"

    Assert.Equal<string list>([ ChartOutput.PlotlyMime; "text/html"; "text/plain" ], preferred chart)
    let figure = JsonDocument.Parse(show chart ChartOutput.PlotlyMime).RootElement

    let line = (figure.GetProperty "data").EnumerateArray() |> Seq.head
    Assert.Equal(4.5, (line.GetProperty "y").EnumerateArray() |> Seq.last |> _.GetDouble())
    Assert.Equal(JsonValueKind.Object, (figure.GetProperty "layout").ValueKind)
    Assert.Equal(JsonValueKind.Object, (figure.GetProperty "config").ValueKind)
    let html = show chart "text/html"
    Assert.True(html.Length < 50_000)
    Assert.Contains(PlotlyScript.address.Value, html)
    Assert.Equal(2, html.Split("</script>").Length)
    Assert.Equal(html, show chart "text/html")
    Assert.Contains("scatter", show chart "text/plain")

    let own =
        show (Plot.attentionMap (Gallery.attentionLike 1 4 1.0, title = "Mine")) "text/plain"

    Assert.Equal("Chart: Mine (heatmap)", own)

[<Fact>]
let ``the script of Plotly is there for offline pages`` () =
    Assert.True(PlotlyScript.source.Value.Length > 1_000_000)
    Assert.Contains("plotly.js v" + PlotlyScript.version.Value, PlotlyScript.source.Value.Substring(0, 400))

[<Fact>]
let ``tables appear as HTML and Markdown`` () =
    let table = Table.ofMeasurements Gallery.measurements
    Assert.Equal<string list>([ "text/html"; "text/plain" ], preferred table)
    Assert.StartsWith("<table", show table "text/html")
    Assert.Equal(table.ToString(), show table "text/plain")

[<Fact>]
let ``Deedle frames appear as tables, long ones cut with a count`` () =
    let small = frame [ "a <b>", Series.ofValues [ 1.0; 2.5 ] ]
    Assert.Contains("a &lt;b&gt;", show small "text/html")
    Assert.Contains("2 rows, 1 columns", show small "text/plain")

    let long =
        frame [
            for column in 1..40 -> $"c{column}", Series.ofValues [ for row in 1..500 -> float row ]
        ]

    let html = show long "text/html"
    Assert.Contains("30 of 500 rows, 20 of 40 columns", html)
    Assert.True(html.Length < 200_000)

[<Fact>]
let ``tensors appear with shape, type, device, moments and a preview`` () =
    use tensor = TensorInterop.ofArray [ 2; 3 ] [ 1.0; 2.0; 3.0; 4.0; 5.0; 6.0 ]
    let plain = show tensor "text/plain"
    Assert.StartsWith("Tensor [2, 3] Float32 on cpu: min 1, mean 3.5, max 6, sd 1.871", plain)
    Assert.Equal(3, plain.Split('\n').Length)
    Assert.Contains("<td", show tensor "text/html")
    use half = torch.ones (8L, 9L, 20L, dtype = torch.ScalarType.BFloat16)
    Assert.Contains("BFloat16", show half "text/html")
    Assert.Contains("…", show half "text/html")
    use scalar = torch.tensor 2.5f
    Assert.Equal("Tensor [] Float32 on cpu: 2.5", show scalar "text/plain")
    use holed = TensorInterop.ofArray [ 3 ] [ 1.0; nan; 3.0 ]
    Assert.Contains("mean 2, max 3", show holed "text/plain")
    Assert.Contains("1 not finite", show holed "text/plain")
    use empty = torch.zeros (0L, 4L)
    Assert.Equal("Tensor [0, 4] Float32 on cpu", show empty "text/plain")
    use flags = torch.ones (3L, dtype = torch.ScalarType.Bool)
    Assert.Contains("Bool", show flags "text/plain")

[<Fact>]
let ``modules appear as layers with parameter counts and the total`` () =
    use layers = torch.nn.Sequential(torch.nn.Linear(4L, 3L), torch.nn.Linear(3L, 2L))
    let plain = show layers "text/plain"
    Assert.Contains("23 parameters", plain)
    Assert.Contains(@"weight \[3, 4\], bias \[3\]", plain)
    Assert.Contains("Linear", plain)
    Assert.Contains("<table", show layers "text/html")

[<Fact>]
let ``attention states appear as a grid of heads`` () =
    use q = torch.randn (1L, 2L, 4L, 3L)
    let state = AttentionState(q, q, q, null)
    let figure = JsonDocument.Parse(show state ChartOutput.PlotlyMime).RootElement
    Assert.Equal(2, figure.GetProperty("data").GetArrayLength())
    Assert.Contains("query [1, 2, 4, 3]", show state "text/plain")

[<Fact>]
let ``loss terms appear with weights and their total`` () =
    use a = torch.tensor 2.0f
    use b = torch.tensor 3.0f
    let terms = LossTerms().Add("attention", a).Add("value", b, 0.5)
    let plain = show terms "text/plain"
    Assert.Contains("3.50000", plain)
    Assert.Contains("attention", plain)
    Assert.Contains("Loss term", show (LossTerms()) "text/plain")

[<Fact>]
let ``registering twice changes nothing`` () =
    Formatters.register ()
    let count = Formatter.RegisteredFormatters false |> Seq.length
    Formatters.register ()
    Assert.Equal(count, Formatter.RegisteredFormatters false |> Seq.length)

let private ablation (work: string -> int64 -> float) =
    let folder = Directory.CreateTempSubdirectory("research-test-").FullName

    try
        TorchRuntime.EnsureLoaded()

        Ablation("99-test", RunSettings(Scale.Smoke, torch.CPU), AblationOptions(CacheFolder = folder))
            .Run(
                [ "plain"; "other" ],
                [ 1L; 2L ],
                fun variant seed -> Dictionary(dict [ "accuracy", work variant seed; "KL", 0.01234 ])
            )
    finally
        Directory.Delete(folder, true)

[<Fact>]
let ``ablations appear as mean and deviation per metric, with what failed`` () =
    let result =
        ablation (fun variant seed ->
            if variant = "other" && seed = 2L then
                invalidOp "it broke <down>"

            80.0 + 2.0 * float seed)

    Assert.Equal<string list>([ "text/html"; "text/plain" ], preferred result)
    let text = show result "text/plain"
    Assert.Contains("83.0 ± 1.4", text)
    Assert.Contains("0.0123", text)
    Assert.Contains("failed (1 of 2 seeds)", text)
    let html = show result "text/html"
    Assert.Contains("it broke &lt;down&gt;", html)
    Assert.DoesNotContain("<strong>", html) // which metric is better high, nobody said
    Assert.Contains("accuracy", show result.Cells[0] "text/html")

[<Fact>]
let ``an ablation of which nothing ran still appears`` () =
    let result = ablation (fun _ _ -> invalidOp "no")
    Assert.Contains("2 failed", show result "text/plain")

[<Fact>]
let ``exceptions appear by message and cause`` () =
    let error = InvalidOperationException("outer <x>", ArgumentException "inner")
    Assert.Equal("InvalidOperationException: outer <x>\ncaused by ArgumentException: inner", show error "text/plain")
    Assert.Contains("outer &lt;x&gt;", show error "text/html")
