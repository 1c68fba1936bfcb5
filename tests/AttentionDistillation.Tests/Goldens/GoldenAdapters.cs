using System.Reflection;
using System.Text.Json;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Inputs and parameters of a case, as an adapter reads them.</summary>
internal sealed class GoldenInputs(IReadOnlyDictionary<string, Tensor> tensors, JsonElement parameters)
{
    internal Tensor this[string name] => tensors[name];

    internal Tensor? Optional(string name) => tensors.GetValueOrDefault(name);

    internal bool Has(string parameter) =>
        parameters.TryGetProperty(parameter, out var value) && value.ValueKind != JsonValueKind.Null;

    internal double Number(string parameter, double otherwise) =>
        Has(parameter) ? parameters.GetProperty(parameter).GetDouble() : otherwise;

    internal double? Number(string parameter) => Has(parameter) ? parameters.GetProperty(parameter).GetDouble() : null;

    internal int Integer(string parameter) =>
        Has(parameter)
            ? parameters.GetProperty(parameter).GetInt32()
            : throw new KeyNotFoundException($"The case has no parameter '{parameter}'.");

    internal bool Flag(string parameter, bool otherwise) =>
        Has(parameter) ? parameters.GetProperty(parameter).GetBoolean() : otherwise;

    internal string Text(string parameter, string otherwise) =>
        Has(parameter) ? parameters.GetProperty(parameter).GetString()! : otherwise;

    internal double[]? Numbers(string parameter) =>
        Has(parameter) ? [.. parameters.GetProperty(parameter).EnumerateArray().Select(value => value.GetDouble())] : null;
}

/// <summary>Runs a mechanism: named outputs from inputs. An output <c>loss</c> is what gradients are taken of.</summary>
internal delegate IReadOnlyDictionary<string, Tensor> GoldenAdapter(GoldenInputs inputs);

/// <summary>
/// ONE adapter for each mechanism name, general over its parameters and optional inputs. A paper's adapters are a file of their own: a static class
/// of this namespace with a static property <c>Adapters</c>, which is found here without being listed.
/// </summary>
internal static class GoldenAdapters
{
    private static readonly Dictionary<string, GoldenAdapter> Registered = typeof(GoldenAdapters)
        .Assembly.GetTypes()
        .Where(type => type.Namespace == typeof(GoldenAdapters).Namespace)
        .Select(type => type.GetProperty("Adapters", BindingFlags.Static | BindingFlags.NonPublic)?.GetValue(null))
        .OfType<Dictionary<string, GoldenAdapter>>()
        .SelectMany(adapters => adapters)
        .ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);

    internal static bool Has(string mechanism) => Registered.ContainsKey(mechanism);

    internal static GoldenAdapter For(string mechanism) => Registered[mechanism];
}
