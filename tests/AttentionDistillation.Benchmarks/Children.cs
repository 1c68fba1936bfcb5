using System.Diagnostics;
using System.Reflection;

namespace AttentionDistillation.Benchmarks;

/// <summary>Runs other programs and this one again, passing their lines on while they come.</summary>
internal static class Children
{
    private const int LinesOfErrors = 15;

    /// <summary>Lines that this program prints for a command, each also shown.</summary>
    internal static List<string> Self(params string[] arguments)
    {
        string program = Environment.ProcessPath!;
        bool host = Path.GetFileNameWithoutExtension(program) == "dotnet";
        return Run(program, host ? [Assembly.GetExecutingAssembly().Location, .. arguments] : arguments);
    }

    /// <summary>Lines that a program prints, each also shown; what it says beside them is shown at the end when it fails.</summary>
    internal static List<string> Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        List<string> lines = [];
        try
        {
            using var process = Process.Start(start)!;
            var errors = process.StandardError.ReadToEndAsync();
            while (process.StandardOutput.ReadLine() is { } line)
            {
                Console.WriteLine(line);
                lines.Add(line);
            }
            process.WaitForExit();
            if (process.ExitCode != 0)
                Console.WriteLine(
                    $"# {program} {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{Last(errors.Result)}"
                );
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            Console.WriteLine($"# {program} does not start: {error.Message}");
        }
        return lines;
    }

    /// <summary>The first line that a program prints, or an empty text.</summary>
    internal static string FirstLine(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(
                new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true }
            )!;
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? text.Split('\n')[0].Trim() : "";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }

    // An exception's message stands above its stack.
    private static string Last(string text) =>
        string.Join('\n', text.TrimEnd().Split('\n').TakeLast(LinesOfErrors).Select(line => "#   " + line));
}
