using System.Text.Json.Nodes;
using NotebookKernel.Documents;
using NotebookKernel.Session;

namespace NotebookKernel.Tests.Documents;

public sealed class OutputRecorderTests
{
    private static readonly Dictionary<string, string> One = new() { ["text/plain"] = "one" };
    private static readonly Dictionary<string, string> Two = new() { ["text/plain"] = "two", ["application/json"] = "{\"a\":1}" };

    private static List<JsonObject> Record(params CellEvent[] events)
    {
        var document = NotebookDocument.Parse(
            """{"cells":[{"cell_type":"code","metadata":{},"source":"x"}],"metadata":{},"nbformat":4,"nbformat_minor":5}""",
            "t.ipynb"
        );
        document.PrepareForRun();
        var recorder = new OutputRecorder();
        recorder.Begin(document.Cells[0], 1);
        foreach (var happened in events)
            recorder.Record(happened);
        recorder.Locked(() => { });
        return [.. document.Cells[0].Outputs!.OfType<JsonObject>()];
    }

    [Fact]
    public void Text_of_one_stream_is_joined_and_of_two_is_not()
    {
        var outputs = Record(
            new StreamText("stdout", "a"),
            new StreamText("stdout", "b\nc"),
            new StreamText("stderr", "d"),
            new StreamText("stdout", "e")
        );
        Assert.Equal(["ab\nc", "d", "e"], outputs.Select(output => Executed.Text(output["text"])));
        Assert.Equal(2, outputs[0]["text"]!.AsArray().Count);
    }

    [Fact]
    public void A_display_between_divides_a_stream()
    {
        var outputs = Record(new StreamText("stdout", "a"), new Displayed("1", One), new StreamText("stdout", "b"));
        Assert.Equal(["stream", "display_data", "stream"], outputs.Select(output => (string)output["output_type"]!));
    }

    [Theory]
    [InlineData("1\r2\r3", "3")]
    [InlineData("a\r\nb", "a\nb")]
    [InlineData("x\nstep 1\rstep 22\rdone\n", "x\ndone\n")]
    [InlineData("kept\r", "kept")]
    public void Carriage_returns_act_as_in_a_terminal(string text, string expected)
    {
        Assert.Equal(expected, Executed.Text(Record(new StreamText("stdout", text))[0]["text"]));
        var pieces = text.Select(c => (CellEvent)new StreamText("stdout", c.ToString())).ToArray();
        Assert.Equal(expected, Executed.Text(Record(pieces)[0]["text"]));
    }

    [Fact]
    public void An_updated_display_holds_its_last_state()
    {
        var outputs = Record(new Displayed("1", One), new StreamText("stdout", "x"), new DisplayUpdated("1", Two));
        Assert.Equal(2, outputs.Count);
        Assert.Equal("two", Executed.Text(outputs[0]["data"]!["text/plain"]));
        Assert.Equal(1, (int)outputs[0]["data"]!["application/json"]!["a"]!);
    }
}
