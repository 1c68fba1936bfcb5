using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace NotebookKernel.Tests.Jupyter;

/// <summary>Runs the checks of <c>protocol.py</c>, all of them on a kernel or two, once for all tests.</summary>
public sealed class ProtocolFixture : IDisposable
{
    private readonly TemporaryFolder folder = new();

    private readonly Lazy<(Dictionary<string, (bool Ok, string Detail)> Results, string Error)> run;

    public ProtocolFixture() => run = new(Run);

    public (bool Ok, string Detail) Of(string check) =>
        run.Value.Results.TryGetValue(check, out var result) ? result : (false, "The check did not run. " + run.Value.Error);

    private (Dictionary<string, (bool, string)>, string) Run()
    {
        JupyterClients.RequireModule("jupyter_client", "python3-jupyter-client");
        var result = JupyterClients.Run(
            JupyterClients.Python,
            [JupyterClients.Script("protocol.py"), "dotnet", JupyterClients.Kernel, folder.Path],
            folder.Path,
            new Dictionary<string, string> { ["JUPYTER_RUNTIME_DIR"] = folder.File("runtime") }
        );
        var found = result
            .Out.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!)
            .ToDictionary(each => (string)each["name"]!, each => ((bool)each["ok"]!, (string)each["detail"]!));
        return (found, result.Error);
    }

    public void Dispose() => folder.Dispose();
}

/// <summary>The kernel speaks the Jupyter protocol, as jupyter_client, the library under every Python client, understands it.</summary>
[Trait("Kind", "Jupyter")]
public sealed partial class ProtocolTests(ProtocolFixture protocol) : IClassFixture<ProtocolFixture>
{
    public static IEnumerable<TheoryDataRow<string>> Checks =>
        Definition()
            .Matches(File.ReadAllText(JupyterClients.Script("protocol.py")))
            .Select(match => new TheoryDataRow<string>(match.Groups[1].Value));

    [Theory]
    [MemberData(nameof(Checks))]
    public void Passes(string check)
    {
        var (ok, detail) = protocol.Of(check);
        Assert.True(ok, detail);
        TestContext.Current.SendDiagnosticMessage("{0}: {1}", check, detail);
    }

    [GeneratedRegex(@"^def (check_\w+)\(", RegexOptions.Multiline)]
    private static partial Regex Definition();
}
