using AttentionDistillation.Runtime;
using NotebookKernel.Session;

namespace NotebookKernel.Tests.Session;

/// <summary>One session for all tests of it: starting the compiler takes seconds.</summary>
public sealed class SessionFixture : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly NotebookSession session;
    private int cells;

    public SessionFixture()
    {
        File.WriteAllText(folder.File("helper.fsx"), "let answer = 42");
        session = new NotebookSession(folder.Path);
    }

    public string Folder => folder.Path;

    public sealed record CellRun(int Number, CellStatus Status, List<CellEvent> Events)
    {
        public string Out =>
            string.Concat(Events.OfType<StreamText>().Where(text => text.Name == "stdout").Select(text => text.Text));

        public string Error =>
            string.Concat(Events.OfType<StreamText>().Where(text => text.Name == "stderr").Select(text => text.Text));

        public IReadOnlyDictionary<string, string> Result => Assert.Single(Events.OfType<ResultValue>()).Bundle;

        public CellFailed Failure => Assert.Single(Events.OfType<CellFailed>());
    }

    public async Task<CellRun> RunAsync(string code, Action<CellEvent>? watch = null)
    {
        int number = Interlocked.Increment(ref cells);
        var events = new List<CellEvent>();
        var status = await session.RunAsync(
            number,
            code,
            happened =>
            {
                events.Add(happened);
                watch?.Invoke(happened);
            }
        );
        return new CellRun(number, status, events);
    }

    public void Dispose()
    {
        session.Dispose();
        folder.Dispose();
    }
}

/// <summary>Tests that own the process's console and statics run one after another.</summary>
[CollectionDefinition("session")]
public sealed class SessionCollection : ICollectionFixture<SessionFixture>;

[Collection("session")]
public sealed class NotebookSessionTests(SessionFixture session)
{
    [Fact]
    public async Task The_last_expression_is_the_result()
    {
        var run = await session.RunAsync("let seven = 7\nseven + 1");
        Assert.Equal(CellStatus.Done, run.Status);
        Assert.Equal("8", run.Result["text/plain"]);
    }

    [Theory]
    [InlineData("let alone = 1")]
    [InlineData("()")]
    [InlineData("ignore 3")]
    [InlineData("")]
    [InlineData("// nothing")]
    [InlineData("task { () }")]
    public async Task Definitions_and_unit_have_no_result(string code)
    {
        var run = await session.RunAsync(code);
        Assert.Equal(CellStatus.Done, run.Status);
        Assert.Empty(run.Events);
    }

    [Fact]
    public async Task Cells_share_state()
    {
        await session.RunAsync("let mutable counter = 1");
        await session.RunAsync("counter <- counter + 1");
        Assert.Equal("2", (await session.RunAsync("counter")).Result["text/plain"]);
    }

    [Fact]
    public async Task Streams_come_in_order_with_displays()
    {
        var run = await session.RunAsync("printf \"a\"\nprintfn \"b\"\neprintfn \"c\"\ndisplay 1 |> ignore\nprintf \"d\"");
        Assert.Equal("ab\nd", run.Out);
        Assert.Equal("c\n", run.Error);
        Assert.IsType<Displayed>(run.Events[^2]);
    }

    [Fact]
    public async Task An_exception_tells_cell_and_line_of_every_call()
    {
        var defined = await session.RunAsync("let fragile x =\n    if x > 1 then failwith \"too big\"\n    x");
        var run = await session.RunAsync("let one = 1\n\nfragile (one + 1)");
        Assert.Equal(CellStatus.Failed, run.Status);
        Assert.Equal(("Exception", "too big", 3), (run.Failure.Name, run.Failure.Message, run.Failure.Line));
        Assert.Equal(
            ["Exception: too big", $"   at fragile, cell {defined.Number}, line 2", $"   at cell {run.Number}, line 3"],
            run.Failure.Traceback
        );
        Assert.DoesNotContain(session.Folder, string.Join("\n", run.Failure.Traceback));
    }

    [Fact]
    public async Task An_exception_keeps_its_cause()
    {
        var run = await session.RunAsync(
            "raise (System.InvalidOperationException(\"outer\", System.Exception \"inner\")) |> ignore<int>"
        );
        Assert.Equal("InvalidOperationException", run.Failure.Name);
        Assert.Contains("caused by Exception: inner", run.Failure.Traceback);
    }

    [Fact]
    public async Task A_compile_error_shows_the_line_with_a_caret()
    {
        var run = await session.RunAsync("let fine = 1\nlet broken = fine + unknownName");
        Assert.Equal(CellStatus.Failed, run.Status);
        Assert.Equal(2, run.Failure.Line);
        Assert.StartsWith("FS0039", run.Failure.Message);
        Assert.Contains($"cell {run.Number}, line 2: error FS0039", run.Failure.Traceback[0]);
        Assert.Equal("    let broken = fine + unknownName", run.Failure.Traceback[1]);
        Assert.Equal("                        ^^^^^^^^^^^", run.Failure.Traceback[2]);
        Assert.Equal(CellStatus.Done, (await session.RunAsync("1")).Status);
    }

    /// <summary>The compiler recovers from this parse error and reports success without a value.</summary>
    [Fact]
    public async Task A_parse_error_inside_a_formatted_string_fails_the_cell()
    {
        var run = await session.RunAsync("let d = dict [ \"a\", 1.0 ]\n$\"x {d[\\\"a\\\"]:F1}\"");
        Assert.Equal(CellStatus.Failed, run.Status);
        Assert.Equal(2, run.Failure.Line);
    }

    [Fact]
    public async Task A_generic_last_expression_is_explained()
    {
        var run = await session.RunAsync("failwith \"never thrown\"");
        Assert.Contains("has a generic type", run.Failure.Message);
        Assert.DoesNotContain("'it'", run.Failure.Message);
    }

    [Fact]
    public async Task A_warning_is_one_line_and_no_error()
    {
        var run = await session.RunAsync("match Some 1 with\n| Some inside -> inside");
        Assert.Equal(CellStatus.Done, run.Status);
        Assert.Contains($"cell {run.Number}, line 1: warning FS0025", run.Error);
        Assert.Equal("1", run.Result["text/plain"]);
    }

    [Fact]
    public async Task A_display_is_updated_under_its_identity()
    {
        var run = await session.RunAsync("let handle = display \"before\"");
        var later = await session.RunAsync("handle.Update(HTML \"<b>after</b>\")");
        var shown = Assert.IsType<Displayed>(Assert.Single(run.Events));
        var updated = Assert.IsType<DisplayUpdated>(Assert.Single(later.Events));
        Assert.Equal("before", shown.Bundle["text/plain"]);
        Assert.Equal(shown.Id, updated.Id);
        Assert.Equal("<b>after</b>", updated.Bundle["text/html"]);
    }

    [Fact]
    public async Task Values_are_shown_as_a_MIME_type_on_request()
    {
        var run = await session.RunAsync("displayAs \"**bold**\" \"text/markdown\" |> ignore");
        Assert.Equal("**bold**", Assert.IsType<Displayed>(Assert.Single(run.Events)).Bundle["text/markdown"]);
    }

    [Theory]
    [InlineData("task { return 5 }")]
    [InlineData("async { return 5 }")]
    public async Task Tasks_and_computations_are_awaited(string code) =>
        Assert.Equal("5", (await session.RunAsync(code)).Result["text/plain"]);

    [Theory]
    [InlineData("Some 3", "Some 3")]
    [InlineData("[ 1; 2 ]", "[1; 2]")]
    [InlineData("(1, \"a\")", "(1, \"a\")")]
    [InlineData("\"text\"", "text")]
    public async Task Plain_values_are_written_as_F_sharp_writes_them(string code, string expected)
    {
        var bundle = (await session.RunAsync(code)).Result;
        Assert.Equal(expected, bundle["text/plain"]);
        Assert.False(bundle.ContainsKey("text/html"));
    }

    [Fact]
    public async Task Records_become_a_table()
    {
        var bundle = (await session.RunAsync("[ {| A = 1; B = \"<x>\" |} ]")).Result;
        Assert.Contains("<th style=\"text-align:left\">A</th>", bundle["text/html"]);
        Assert.Contains("&lt;x&gt;", bundle["text/html"]);
    }

    [Fact]
    public async Task A_chart_comes_as_a_figure_and_as_small_HTML()
    {
        var run = await session.RunAsync("open Plotly.NET\n\nChart.Line([ 1, 2; 2, 3 ])");
        Assert.Contains("\"data\"", run.Result["application/vnd.plotly.v1+json"]);
        Assert.True(run.Result["text/html"].Length < 100_000);
        Assert.Equal("<i>x</i>", (await session.RunAsync("HTML \"<i>x</i>\"")).Result["text/html"]);
    }

    [Fact]
    public async Task Scripts_load_relative_to_the_notebook()
    {
        Assert.Equal(CellStatus.Done, (await session.RunAsync("#load \"helper.fsx\"")).Status);
        Assert.Equal("42", (await session.RunAsync("Helper.answer")).Result["text/plain"]);
    }

    [Fact]
    public async Task Time_directives_print_times_only()
    {
        var run = await session.RunAsync("#time \"on\"\nlet timed = List.sum [ 1 .. 10 ]");
        await session.RunAsync("#time \"off\"");
        Assert.Contains("Real: ", run.Out);
        Assert.DoesNotContain("val ", run.Out);
    }

    [Fact]
    public async Task Trainings_show_their_progress_below_the_cell()
    {
        var run = await session.RunAsync(
            "open AttentionDistillation.Runtime\nfor seed in 0 .. 1 do\n    use work = Progress.Start($\"seed {seed}\", 3L)\n    for step in 1L .. 3L do\n        work.Report(step, \"loss 0.5\")"
        );
        var shown = Assert.Single(run.Events.OfType<Displayed>());
        var last = run.Events.OfType<DisplayUpdated>().Last();
        Assert.Equal(shown.Id, last.Id);
        Assert.Contains("seed 0: 3 steps", last.Bundle["text/plain"]);
        Assert.Contains("seed 1: 3 steps", last.Bundle["text/plain"]);
        Assert.Contains("loss 0.5", last.Bundle["text/html"]);
    }

    [Fact]
    public async Task A_stop_ends_the_cell_at_its_next_step_and_the_session_lives_on()
    {
        await session.RunAsync("let steps = ref 0");
        var running = session.RunAsync(
            "printfn \"go\"\nwhile true do\n    steps.Value <- steps.Value + 1\n    AttentionDistillation.Runtime.Interruption.ThrowIfRequested()\n    System.Threading.Thread.Sleep 1",
            _ => Interruption.Request()
        );
        try
        {
            var run = await running;
            Assert.Equal(CellStatus.Interrupted, run.Status);
        }
        finally
        {
            Interruption.Clear();
        }
        Assert.Equal("true", (await session.RunAsync("steps.Value > 0")).Result["text/plain"]);
    }
}
