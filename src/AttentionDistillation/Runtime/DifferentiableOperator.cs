using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

/// <summary>
/// The base of operators that compute their own gradients. It frees whatever a pass makes as soon as libtorch has what it needs: TorchSharp's own
/// <c>SingleTensorFunction</c> leaves the gradients that go in and out of a backward pass, and what it unpacks for it, to the garbage collector,
/// which knows nothing of a device's memory.
/// </summary>
/// <remarks>
/// A derived type is sealed, without state (one object serves all calls), and offers a static method that calls <see cref="Apply"/>. Its passes
/// run without a graph, so there are no second derivatives: asking for them fails. A backward pass should be started by
/// <see cref="DifferentiableOperator.Backward"/>, which tells why an operator failed.
/// </remarks>
/// <typeparam name="TSelf">The derived type.</typeparam>
public abstract class DifferentiableOperator<TSelf> : autograd.SingleTensorFunction<TSelf>
    where TSelf : DifferentiableOperator<TSelf>, new()
{
    private const string CallName = "call";

    private static readonly TSelf Shared = new();

    /// <inheritdoc/>
    public override string Name => typeof(TSelf).Name;

    /// <summary>The output, a new tensor; what the gradients need is saved with the call, and only where it <see cref="OperatorCall.Learns"/>.</summary>
    /// <param name="call">Inputs and settings.</param>
    protected abstract Tensor Forward(OperatorCall call);

    /// <summary>The gradients of the inputs, in their order; null where there is no input, or none is wanted.</summary>
    /// <param name="call">The settings, and which gradients are wanted.</param>
    /// <param name="saved">What the forward pass saved.</param>
    /// <param name="gradient">The output's gradient, in any memory order.</param>
    protected abstract Tensor?[] Backward(OperatorCall call, IReadOnlyList<Tensor?> saved, Tensor gradient);

    /// <summary>The operator on inputs; recorded for the backward pass where one of them wants a gradient.</summary>
    /// <param name="settings">Anything that is no tensor.</param>
    /// <param name="inputs">Tensors, or null for those left out.</param>
    protected static Tensor Apply(object? settings, params Tensor?[] inputs)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        GradientsHandedOver.Release();
        // Also frees what only the recording needed: copies of handles, and a tensor of the output's size that TorchSharp keeps beside it.
        using var scope = NewDisposeScope();
        bool records = is_grad_enabled();
        var call = new OperatorCall(settings, inputs, [.. inputs.Select(input => records && input?.requires_grad == true)]);
        var output = call.Learns ? apply([.. inputs, call]) : Shared.Forward(call);
        call.ForgetForward();
        return output.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public sealed override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        ArgumentNullException.ThrowIfNull(ctx);
        ArgumentNullException.ThrowIfNull(vars);
        var call = (OperatorCall)vars[^1];
        var output = Shared.Forward(call);
        ctx.set_materialize_grads(false);
        ctx.save_for_backward([.. call.Kept!]);
        ctx.save_data(CallName, call);
        return output;
    }

    /// <inheritdoc/>
    public sealed override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        ArgumentNullException.ThrowIfNull(ctx);
        ArgumentNullException.ThrowIfNull(grad_output);
        GradientsHandedOver.Release();
        var call = (OperatorCall)ctx.get_data(CallName);
        Tensor?[] gradients;
        try
        {
            gradients = grad_output.IsInvalid ? new Tensor?[call.Count] : Gradients(ctx, call, grad_output);
        }
        catch (Exception error)
        {
            DifferentiableOperator.Fail(Name, error);
            gradients = Refused(call);
        }
        if (!gradients.Any(part => ReferenceEquals(part, grad_output))) // tensors compare by their values
            grad_output.Dispose();
        GradientsHandedOver.Hold(gradients);
        return [.. gradients.Select(part => part!), null!];
    }

    private Tensor?[] Gradients(autograd.AutogradContext context, OperatorCall call, Tensor gradient)
    {
        if (is_grad_enabled())
            throw new NotSupportedException(
                "it has no second derivatives (create_graph). Compose the operator from libtorch's own for them; FastPaths.OwnKernels = false does so for the library's kernels."
            );
        using var scope = NewDisposeScope();
        var gradients = Shared.Backward(call, context.get_saved_variables(), gradient);
        if (gradients.Length != call.Count)
            throw new InvalidOperationException($"it has {call.Count} inputs, but returned {gradients.Length} gradients.");
        foreach (var part in gradients)
            part?.DetachFromDisposeScope();
        return gradients;
    }

    // An exception may not cross libtorch's frames. It refuses gradients on another device than their inputs', in an exception of its own that
    // does reach whoever called.
    private static Tensor?[] Refused(OperatorCall call)
    {
        using var scope = NewDisposeScope();
        return [.. call.IsTensor.Select(isTensor => isTensor ? zeros(1, device: META).DetachFromDisposeScope() : null)];
    }
}

/// <summary>One call of a <see cref="DifferentiableOperator{TSelf}"/>.</summary>
public sealed class OperatorCall
{
    private readonly bool[] wants;

    internal OperatorCall(object? settings, Tensor?[] inputs, bool[] wants)
    {
        (Settings, Inputs, this.wants) = (settings, inputs, wants);
        IsTensor = [.. inputs.Select(input => input is not null)];
        Learns = wants.Any(wanted => wanted);
        Kept = [];
    }

    /// <summary>The inputs; empty in the backward pass, which has what was saved.</summary>
    public IReadOnlyList<Tensor?> Inputs { get; private set; }

    /// <summary>What was given beside the tensors.</summary>
    public object? Settings { get; }

    /// <summary>True when a backward pass may follow.</summary>
    public bool Learns { get; }

    internal int Count => wants.Length;

    internal bool[] IsTensor { get; }

    internal List<Tensor>? Kept { get; private set; }

    /// <summary>True when an input's gradient is wanted.</summary>
    public bool Wants(int input) => wants[input];

    /// <summary>Saves tensors for the backward pass: inputs, the output, or others.</summary>
    public void Save(params ReadOnlySpan<Tensor?> tensors)
    {
        foreach (var tensor in tensors)
            Kept?.Add(tensor!);
    }

    internal void ForgetForward() => (Inputs, Kept) = ([], null);
}

/// <summary>Backward passes through operators of our own.</summary>
public static class DifferentiableOperator
{
    private static (string Name, Exception Error)? failure;
    private static readonly Lock Guard = new();

    /// <summary>The backward pass of a scalar, as <c>loss.backward()</c>.</summary>
    /// <param name="loss">A scalar with a graph.</param>
    /// <exception cref="InvalidOperationException">An operator failed; its own exception is the inner one.</exception>
    public static void Backward(Tensor loss)
    {
        ArgumentNullException.ThrowIfNull(loss);
        Take();
        try
        {
            loss.backward();
        }
        catch (ExternalException) when (Take() is var (name, error))
        {
            throw new InvalidOperationException($"The backward pass of {name} failed: {error.Message}", error);
        }
    }

    internal static void Fail(string name, Exception error)
    {
        lock (Guard)
            failure ??= (name, error);
    }

    private static (string Name, Exception Error)? Take()
    {
        lock (Guard)
        {
            var taken = failure;
            failure = null;
            return taken;
        }
    }
}

/// <summary>
/// Gradients that a backward pass returned to libtorch, which takes its own references after the return. They are held until the next call of an
/// operator on the same thread: by then it has them. So of each thread that runs backward passes one call's gradients stay, not more.
/// </summary>
internal static class GradientsHandedOver
{
    [ThreadStatic]
    private static Tensor?[]? held;

    internal static void Hold(Tensor?[] gradients) => held = gradients;

    internal static void Release()
    {
        foreach (var gradient in held ?? [])
            gradient?.Dispose();
        held = null;
    }
}
