module AttentionDistillation.Notebooks.Tests.TableTests

open System
open Deedle
open Xunit
open AttentionDistillation.Notebooks

let private one variant metric seed value : Measurement = {
    Variant = variant
    Metric = metric
    Seed = seed
    Value = value
}

// Mean 2 and sample deviation 1; mean 5 and sample deviation 2.
let private known = [
    one "a" "score" 1 1.0
    one "a" "score" 2 2.0
    one "a" "score" 3 3.0
    one "b" "score" 1 3.0
    one "b" "score" 2 5.0
    one "b" "score" 3 7.0
]

let private number (frame: Frame<string, string>) column row = frame.GetColumn<float>(column).Get row

let private row label (table: Table) =
    table.ToMarkdown().Split '\n'
    |> Array.find (fun line -> line.StartsWith $"| {label} ")

[<Fact>]
let ``means and sample deviations agree with hand values`` () =
    let table = Table.ofMeasurements (known, digits = 2)
    Assert.Contains("2.00 ± 1.00", row "a" table)
    Assert.Contains("**5.00 ± 2.00**", row "b" table)
    Assert.Contains("n = 3", table.ToMarkdown())
    let frame = Table.summarise known
    Assert.Equal(2.0, number frame "score mean" "a")
    Assert.Equal(2.0, number frame "score sd" "b")
    Assert.Equal(3.0, number frame "score n" "b")
    Assert.Equal(0.0, number frame "score failed" "a")

[<Fact>]
let ``the best follows the direction of the metric, ties share it, references do not compete`` () =
    let lower = Table.ofMeasurements (known, directions = [ "score", LowerIsBetter ])
    Assert.True(lower.IsBest(0, 0))
    Assert.False(lower.IsBest(1, 0))
    let tie = Table.ofMeasurements (one "c" "score" 1 5.01 :: known)
    Assert.True(tie.IsBest(0, 0) && tie.IsBest(2, 0))

    let teacher =
        Table.ofMeasurements (one "teacher" "score" 1 9.0 :: known, reference = [ "teacher" ])

    Assert.False(teacher.IsBest(0, 0))
    Assert.True(teacher.IsBest(2, 0))
    let none = Table.ofMeasurements (known, directions = [ "score", NoBest ])
    Assert.DoesNotContain("**", none.ToMarkdown())

[<Fact>]
let ``failed seeds and missing cells are marked`` () =
    let table =
        Table.ofMeasurements (
            known
            @ [
                one "c" "score" 1 4.0
                one "c" "score" 2 nan
                one "d" "score" 1 nan
                one "d" "score" 2 infinity
                one "e" "other" 1 1.0
            ]
        )

    Assert.Contains("4.0 (n = 1); failed (1 of 2 seeds)", row "c" table)
    Assert.Contains("failed (2 of 2 seeds)", row "d" table)
    Assert.Contains("—", row "a" table)

[<Fact>]
let ``published numbers stand beside ours with their mark, and rows that only the paper has are kept`` () =
    let published variant value mark : Published = {
        Variant = variant
        Metric = "score"
        Value = value
        Mark = mark
    }

    let table =
        Table.ofMeasurements (known, published = [ published "a" 2.5 "†"; published "z" 9.5 "" ])

    Assert.Equal<string[]>([| "ours"; "paper" |], table.Columns |> Array.map _.Title)
    Assert.Contains("2.5†", row "a" table)
    Assert.Contains("**9.5**", row "z" table)
    Assert.Contains("†", table.ToMarkdown().Split('\n') |> Array.last)
    Assert.Contains(@"2.5\textsuperscript{\dag}", table.ToLatex())
    let frame = table.ToFrame()
    Assert.Equal(2.5, number frame "paper (score)" "a")
    Assert.True(frame.GetColumn<float>("ours (score)").TryGet("z").HasValue |> not)

[<Fact>]
let ``special characters are escaped in every format`` () =
    let table =
        Table.ofMeasurements ([ one "a|b <i>&_%$#{}~^\\*" "m_1 & <b>" 1 1.0 ], caption = "100 % <script>")

    let html, markdown, latex = table.ToHtml(), table.ToMarkdown(), table.ToLatex()
    Assert.DoesNotContain("<i>", html)
    Assert.DoesNotContain("<script>", html)
    Assert.Contains("&lt;i&gt;&amp;", html)
    Assert.Contains(@"a\|b \<i\>&\_%\$\#{}\~^\\\*", markdown)

    Assert.Contains(
        @"a\textbar{}b \textless{}i\textgreater{}\&\_\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}*",
        latex
    )

    Assert.Contains(@"m\_1 \& \textless{}b\textgreater{}", latex)
    Assert.Contains(@"100 \% \textless{}script\textgreater{}", latex)

[<Fact>]
let ``no format loses a row, whatever the labels and gaps`` () =
    for seed in 1..40 do
        let random = Random seed
        let letters = "ab|<>&_%$#{}\\*†—\n\"'"

        let label () =
            String(Array.init (1 + random.Next 6) (fun _ -> letters[random.Next letters.Length]))

        let measurements = [
            for index in 0 .. random.Next(1, 12) do
                let variant = $"{label ()}{index}"

                for metric in 0 .. random.Next 4 do
                    for run in 0 .. random.Next 3 ->
                        one variant $"m{metric}" run (if random.Next 5 = 0 then nan else random.NextDouble())
        ]

        let expected = measurements |> List.map _.Variant |> List.distinct |> List.length
        let table = Table.ofMeasurements measurements
        let count (part: string) (text: string) = text.Split(part).Length - 1

        let rows =
            table.ToMarkdown().Split('\n') |> Array.filter (fun line -> line.StartsWith '|')

        Assert.Equal(expected, table.Rows.Length)
        Assert.Equal(expected + 2, rows.Length)
        let html = table.ToHtml()

        let htmlBody =
            html.Substring(html.IndexOf "<tbody>", html.IndexOf "</tbody>" - html.IndexOf "<tbody>")

        Assert.Equal(expected, count "<tr>" htmlBody)
        let latex = table.ToLatex()

        let body =
            latex.Substring(latex.IndexOf @"\midrule", latex.IndexOf @"\bottomrule" - latex.IndexOf @"\midrule")

        Assert.Equal(expected, count "\\\\\n" body)

[<Fact>]
let ``booktabs rules and column alignment are written`` () =
    let latex = Table.ofMeasurements(known, caption = "Scores").ToLatex()

    for part in
        [
            @"\toprule"
            @"\midrule"
            @"\bottomrule"
            @"\begin{tabular}{lr}"
            @"\caption{Scores}"
            @"\textbf{5.0} $\pm$ 2.0"
        ] do
        Assert.Contains(part, latex)

[<Fact>]
let ``a Deedle frame becomes a table and comes back`` () =
    let frame =
        frame [
            "loss", Series.ofObservations [ "x", 0.12345; "y", nan ]
            "steps", Series.ofObservations [ "x", 10.0; "y", 20.0 ]
        ]

    let table = Table.ofFrame (frame, directions = [ "loss", LowerIsBetter ])
    Assert.Contains("0.123 |", row "x" table)
    Assert.Contains("—", row "y" table)
    Assert.Contains("10 |", row "x" table)
    Assert.Equal(20.0, number (table.ToFrame()) "steps" "y")

[<Fact>]
let ``wrong input is refused with a remedy`` () =
    let message (action: unit -> obj) =
        (Assert.Throws<ArgumentException>(Action(fun () -> action () |> ignore))).Message

    Assert.Contains("Pass at least one", message (fun () -> Table.ofMeasurements []))
    Assert.Contains("Keep one value", message (fun () -> Table.ofMeasurements (known @ known)))
    Assert.Contains("Pass at least one", message (fun () -> Table.summarise []))
    Assert.Contains("at least one column", message (fun () -> Table.create ([], [])))

    let column = {
        Title = "x"
        Group = ""
        Direction = NoBest
        Digits = 1
    }

    Assert.Contains("has 0 cells", message (fun () -> Table.create ([ column ], [ "a", [||] ])))
