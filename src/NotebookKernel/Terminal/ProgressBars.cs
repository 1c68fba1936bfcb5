using AttentionDistillation.Runtime;

namespace NotebookKernel.Terminal;

/// <summary>Progress of tasks as lines of text.</summary>
internal static class ProgressBars
{
    private const int BarWidth = 24;
    private const int LabelWidth = 32;

    /// <summary>A line with a bar, for a terminal that redraws it.</summary>
    internal static string Bar(ProgressState state, Ansi ansi, int width)
    {
        string label = Ansi.Fit(state.Label, LabelWidth).PadRight(Math.Min(LabelWidth, Math.Max(20, state.Label.Length)));
        double share = state.Total > 0 ? Math.Clamp((double)state.Done / state.Total, 0, 1) : 0;
        int full = (int)Math.Round(share * BarWidth);
        string bar =
            state.Total > 0
                ? ansi.Cyan(new string('━', full)) + ansi.Dim(new string('─', BarWidth - full))
                : ansi.Dim(new string('─', BarWidth));
        string rest = Figures(state) + Left(state, share);
        int room = Math.Max(0, width - label.Length - BarWidth - 8);
        return $"      {label} {bar} {ansi.Dim(Ansi.Fit(rest, room))}";
    }

    /// <summary>A plain line, for logs.</summary>
    internal static string Line(ProgressState state) => $"      {state.Label}: {Figures(state)}";

    private static string Figures(ProgressState state)
    {
        string count = state.Total > 0 ? $"{state.Done}/{state.Total}" : $"{state.Done}";
        string message = state.Message.Length > 0 ? $" · {state.Message}" : "";
        return $"{count} {state.Unit}s · {Ansi.Duration(state.Elapsed)}{message}";
    }

    private static string Left(ProgressState state, double share)
    {
        // A guess from too small a share is worse than none.
        const double LeastShare = 0.02;
        return share is >= LeastShare and < 1 ? $" · {Ansi.Duration(state.Elapsed * ((1 - share) / share))} left" : "";
    }
}
