namespace AttentionDistillation.Runtime;

/// <summary>
/// A polite stop. A front (Ctrl-C in the terminal, the notebook's stop button) requests it; loops ask at every step and throw
/// <see cref="OperationCanceledException"/>, leaving their state whole.
/// </summary>
public static class Interruption
{
    private static volatile bool requested;

    /// <summary>True from a request until the next <see cref="Clear"/>.</summary>
    public static bool Requested => requested;

    /// <summary>Asks running loops to stop at their next step.</summary>
    public static void Request() => requested = true;

    /// <summary>Forgets an earlier request; a front calls it before it starts new work.</summary>
    public static void Clear() => requested = false;

    /// <summary>Called by loops at every step.</summary>
    /// <exception cref="OperationCanceledException">A stop was requested.</exception>
    public static void ThrowIfRequested()
    {
        if (requested)
            throw new OperationCanceledException("Interrupted: stopped at the end of a step, state kept.");
    }
}
