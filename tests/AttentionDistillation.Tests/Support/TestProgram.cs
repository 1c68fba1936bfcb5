using System.Diagnostics;

namespace AttentionDistillation.Tests.Support;

/// <summary>
/// This test program in a process of its own. A module initialiser that finds its variable in the environment does the child's work and ends
/// the process before the test framework reads the command line.
/// </summary>
internal static class TestProgram
{
    /// <summary>How to start it; a null value removes the variable from the child's environment.</summary>
    internal static ProcessStartInfo With(params (string Name, string? Value)[] variables)
    {
        string program = Path.Combine(AppContext.BaseDirectory, typeof(TestProgram).Assembly.GetName().Name + ".dll");
        var start = new ProcessStartInfo(DotNet(), [program]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        return start;
    }

    // The program that runs this test's assembly lies above the runtime's folder: dotnet/shared/Microsoft.NETCore.App/10.0.x.
    private static string DotNet()
    {
        string root = Path.GetFullPath(
            Path.Combine(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..")
        );
        return Path.Combine(root, OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet");
    }
}
