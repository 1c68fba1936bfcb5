using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace NotebookKernel.Tests.Jupyter;

/// <summary><c>jupyter nbconvert --execute</c> gives the results of <c>research run</c>.</summary>
[Trait("Kind", "Jupyter")]
public sealed partial class NbconvertTests : IDisposable
{
    private const string Nbconvert = "/usr/bin/jupyter-nbconvert";

    // The notebooks that newcomers meet first; the others stand on the same engine.
    private static readonly string[] Slugs = ["00-", "01-"];

    private readonly TemporaryFolder folder = new();

    private static string Repository => Path.GetDirectoryName(Path.GetDirectoryName(JupyterClients.Artifacts("x")))!;

    public static IEnumerable<TheoryDataRow<string>> Notebooks =>
        Directory
            .EnumerateFiles(Path.Combine(Repository, "notebooks"), "*.ipynb")
            .Select(file => Path.GetFileName(file))
            .Where(name => Slugs.Any(slug => name.StartsWith(slug, StringComparison.Ordinal)))
            .Order(StringComparer.Ordinal)
            .Select(name => new TheoryDataRow<string>(name));

    [Fact]
    public async Task A_notebook_of_every_kind_of_output_comes_out_alike()
    {
        foreach (string root in (string[])["live", "headless"])
        {
            Directory.CreateDirectory(folder.File($"{root}/notebooks"));
            folder.Notebook(
                $"{root}/notebooks/kinds.ipynb",
                "printfn \"one\"\neprintfn \"two\"\nprintfn \"three\"",
                "open Plotly.NET\n\nChart.Line([ 1, 2; 2, 3 ])",
                "let shown = display \"before\"\nshown.Update \"after\"\n[ {| A = 1; B = \"x\" |} ]",
                "open TorchSharp\ntorch.manual_seed 3L |> ignore\ntorch.randn(4L, 5L)",
                "use work = AttentionDistillation.Runtime.Progress.Start(\"fit\", 3L)\nfor step in 1L .. 3L do work.Report step"
            );
        }
        await CompareAsync("kinds.ipynb");
    }

    [Theory(SkipTestWithoutData = true)]
    [MemberData(nameof(Notebooks))]
    public async Task A_notebook_of_the_repository_comes_out_alike(string name)
    {
        // A copy for each way of running, which go on at the same time.
        foreach (string root in (string[])["live", "headless"])
        {
            foreach (string part in (string[])["notebooks", "data/papers", "data/vocabulary"])
                Copy(Path.Combine(Repository, part), folder.File($"{root}/{part}"));
            File.Copy(Path.Combine(Repository, "Research.sln"), folder.File($"{root}/Research.sln"));
        }
        await CompareAsync(name);
    }

    private async Task CompareAsync(string name)
    {
        JupyterClients.RequireFile(Nbconvert, "Install it: apt-get install jupyter-nbconvert");
        string data = folder.File("jupyter");
        var installed = await ResearchProcess.RunAsync(folder.Path, "kernel", "install", "--prefix", folder.File("prefix"));
        Assert.True(installed.ExitCode == 0, installed.Error);
        var headlessRun = Task.Run(() =>
            JupyterClients.Run(
                "dotnet",
                [JupyterClients.Kernel, "run", name, "--scale", "smoke", "--output", folder.File("headless/out")],
                folder.File("headless/notebooks"),
                JupyterClients.OwnCache(folder.File("headless/cache"))
            )
        );
        var live = await Task.Run(() =>
            JupyterClients.Run(
                Nbconvert,
                [
                    "--execute",
                    "--to",
                    "notebook",
                    "--ExecutePreprocessor.kernel_name=.net-fsharp",
                    "--ExecutePreprocessor.timeout=240",
                    "--output-dir",
                    folder.File("live/out"),
                    folder.File($"live/notebooks/{name}"),
                ],
                folder.Path,
                new Dictionary<string, string>(JupyterClients.OwnCache(folder.File("live/cache")))
                {
                    ["JUPYTER_PATH"] = folder.File("prefix/share/jupyter"),
                    ["JUPYTER_DATA_DIR"] = data,
                    ["JUPYTER_RUNTIME_DIR"] = folder.File("runtime"),
                    ["RESEARCH_SCALE"] = "smoke",
                }
            )
        );
        var headless = await headlessRun;
        Assert.True(live.ExitCode == 0, live.Out + live.Error);
        Assert.True(headless.ExitCode == 0, headless.Out + headless.Error);
        Executed.AssertValid(folder.File($"live/out/{name}"));
        var expected = Results(folder.File($"headless/out/{name}"));
        var found = Results(folder.File($"live/out/{name}"));
        Assert.NotEmpty(expected);
        Assert.Equal(expected.Count, found.Count);
        for (int index = 0; index < expected.Count; index++)
            Assert.Equal(expected[index], found[index]);
    }

    // Every output as text, cell by cell, without what measures time or memory: that differs from run to run.
    private static List<string> Results(string path) =>
        [
            .. Executed
                .CodeCells(path)
                .SelectMany(
                    (cell, index) =>
                        Executed.Outputs(cell).Select(output => $"cell {index + 1}: " + Measured().Replace(Text(output), "#"))
                ),
        ];

    private static string Text(JsonObject output)
    {
        string kind = (string)output["output_type"]!;
        if (kind == "stream")
            return $"{output["name"]} {Lines(output["text"])}";
        var data = (JsonObject)output["data"]!;
        // Of progress only what was done is the same in every run: when figures were read is not.
        string plain = Lines(data["text/plain"]);
        if (plain.Length > 0 && plain.Split('\n').All(line => ProgressLine().IsMatch(line)))
            return kind + string.Concat(plain.Split('\n').Select(line => "\n" + ProgressLine().Match(line).Groups[1].Value));
        if (plain.StartsWith('|') || plain.Contains("\n|", StringComparison.Ordinal))
            return kind + "\n" + WithoutTimes(plain);
        return kind + string.Concat(data.OrderBy(form => form.Key).Select(form => $"\n{form.Key} {Lines(form.Value)}"));
    }

    // A table without its columns of times. Its HTML says the same as its Markdown.
    private static string WithoutTimes(string markdown)
    {
        string[] lines = markdown.Split('\n');
        string header = lines.First(line => line.StartsWith('|'));
        var kept = header.Split('|').Index().Where(cell => !TimeColumn().IsMatch(cell.Item)).Select(cell => cell.Index).ToList();
        return string.Join(
            '\n',
            lines.Select(line =>
                line.StartsWith('|')
                    ? string.Join(
                        '|',
                        kept.Where(index => index < line.Split('|').Length).Select(index => line.Split('|')[index].Trim(' ', '-'))
                    )
                    : line
            )
        );
    }

    private static string Lines(JsonNode? value) =>
        value switch
        {
            JsonArray lines when lines.All(line => line is JsonValue) => string.Concat(lines.Select(line => (string?)line)),
            JsonValue text when text.TryGetValue(out string? plain) => plain,
            _ => Sorted(value)?.ToJsonString() ?? "",
        };

    // Python's tools sort the names of JSON objects and write small numbers in another way.
    private static JsonNode? Sorted(JsonNode? value) =>
        value switch
        {
            JsonObject fields => new JsonObject(
                fields
                    .OrderBy(field => field.Key, StringComparer.Ordinal)
                    .Select(field => KeyValuePair.Create(field.Key, Sorted(field.Value)))
            ),
            JsonArray items => new JsonArray([.. items.Select(Sorted)]),
            JsonValue number when number.GetValueKind() == JsonValueKind.Number => (double)number,
            _ => value?.DeepClone(),
        };

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.EnumerateFiles(from))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
    }

    [GeneratedRegex(@"^(.+: \d+(?:/\d+)? \w+), [\d.]+ (?:s|min|h)\b.*$")]
    private static partial Regex ProgressLine();

    [GeneratedRegex(@"\b(ms|s|min|seconds|time)\b", RegexOptions.IgnoreCase)]
    private static partial Regex TimeColumn();

    [GeneratedRegex(@"\d+(\.\d+)? ?(s|ms|min|h|MB|GB|MiB|GiB)\b( \d+ ?(s|min)\b)?")]
    private static partial Regex Measured();

    public void Dispose() => folder.Dispose();
}
