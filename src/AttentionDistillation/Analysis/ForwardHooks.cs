using System.Reflection;
using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Watches calls of modules of any signature.</summary>
internal static class ForwardHooks
{
    /// <summary>Calls <paramref name="seen"/> with the first argument and the result of each call; null for a container, which is never called.</summary>
    /// <returns>Stops watching.</returns>
    public static Action? Watch(nn.Module module, Action<object?, object?> seen)
    {
        for (var type = module.GetType(); type is not null; type = type.BaseType)
            if (
                type.IsGenericType
                && type.GetGenericTypeDefinition().FullName?.StartsWith("TorchSharp.torch+nn+Module`", StringComparison.Ordinal)
                    == true
            )
            {
                var arguments = type.GetGenericArguments();
                return typeof(ForwardHooks)
                        .GetMethods(BindingFlags.NonPublic | BindingFlags.Static)
                        .FirstOrDefault(method =>
                            method.Name == nameof(Hook) && method.GetGenericArguments().Length == arguments.Length
                        )
                        ?.MakeGenericMethod(arguments)
                        .Invoke(null, [module, seen]) as Action;
            }
        return null;
    }

    /// <summary>The tensors of a result: itself, an array's, a tuple's.</summary>
    public static IEnumerable<Tensor> Tensors(object? result) =>
        result switch
        {
            Tensor tensor => [tensor],
            IEnumerable<Tensor> several => several,
            ITuple tuple => Enumerable.Range(0, tuple.Length).Select(number => tuple[number]).OfType<Tensor>(),
            _ => [],
        };

    private static Action Hook<T1, TResult>(nn.Module<T1, TResult> module, Action<object?, object?> seen) =>
        module
            .register_forward_hook(
                (_, first, result) =>
                {
                    seen(first, result);
                    return result;
                }
            )
            .remove;

    private static Action Hook<T1, T2, TResult>(nn.Module<T1, T2, TResult> module, Action<object?, object?> seen) =>
        module
            .register_forward_hook(
                (_, first, _, result) =>
                {
                    seen(first, result);
                    return result;
                }
            )
            .remove;

    private static Action Hook<T1, T2, T3, TResult>(nn.Module<T1, T2, T3, TResult> module, Action<object?, object?> seen) =>
        module
            .register_forward_hook(
                (_, first, _, _, result) =>
                {
                    seen(first, result);
                    return result;
                }
            )
            .remove;

    private static Action Hook<T1, T2, T3, T4, TResult>(
        nn.Module<T1, T2, T3, T4, TResult> module,
        Action<object?, object?> seen
    ) =>
        module
            .register_forward_hook(
                (_, first, _, _, _, result) =>
                {
                    seen(first, result);
                    return result;
                }
            )
            .remove;

    private static Action Hook<T1, T2, T3, T4, T5, TResult>(
        nn.Module<T1, T2, T3, T4, T5, TResult> module,
        Action<object?, object?> seen
    ) =>
        module
            .register_forward_hook(
                (_, first, _, _, _, _, result) =>
                {
                    seen(first, result);
                    return result;
                }
            )
            .remove;
}
