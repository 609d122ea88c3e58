"""What a source may name: of each allowed module its public names, of the built-ins the harmless ones.

Pinned for Python 3.12 (from each module's `__all__`, else its documented names), so that the verdict on a source does not
change with the interpreter that judges it. Public names that evaluate text, follow attributes named by text, copy whole
namespaces, patch other modules, print, read files or draw randomness of their own are left out on purpose.
"""

import builtins


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PUBLIC_NAMES: dict[str, frozenset[str]] = {
    "bisect": _names(
        """
        bisect bisect_left bisect_right insort insort_left insort_right
        """
    ),
    "collections": _names(
        """
        ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque namedtuple
        """
    ),
    "collections.abc": _names(
        """
        Buffer ByteString Callable Collection
        Container Generator Hashable ItemsView Iterable Iterator KeysView Mapping MappingView
        MutableMapping MutableSequence MutableSet Reversible Sequence Set Sized ValuesView
        """
    ),
    "copy": _names(
        """
        Error copy deepcopy
        """
    ),
    "dataclasses": _names(
        """
        Field FrozenInstanceError InitVar KW_ONLY MISSING asdict astuple dataclass field fields
        is_dataclass replace
        """
    ),
    "decimal": _names(
        """
        BasicContext Clamped Context ConversionSyntax Decimal DecimalException DecimalTuple DefaultContext
        DivisionByZero DivisionImpossible DivisionUndefined ExtendedContext FloatOperation HAVE_CONTEXTVAR
        HAVE_THREADS Inexact InvalidContext InvalidOperation MAX_EMAX MAX_PREC MIN_EMIN MIN_ETINY Overflow
        ROUND_05UP ROUND_CEILING ROUND_DOWN ROUND_FLOOR ROUND_HALF_DOWN ROUND_HALF_EVEN ROUND_HALF_UP
        ROUND_UP Rounded Subnormal Underflow getcontext localcontext
        """
    ),
    "enum": _names(
        """
        CONFORM CONTINUOUS EJECT Enum EnumCheck EnumMeta EnumType Flag FlagBoundary IntEnum IntFlag KEEP
        NAMED_FLAGS ReprEnum STRICT StrEnum UNIQUE auto member nonmember
        property unique verify
        """
    ),
    "fractions": _names(
        """
        Fraction
        """
    ),
    "functools": _names(
        """
        cache cached_property cmp_to_key lru_cache partial partialmethod reduce total_ordering
        """
    ),
    "heapq": _names(
        """
        heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest
        """
    ),
    "itertools": _names(
        """
        accumulate batched chain combinations combinations_with_replacement compress count cycle dropwhile
        filterfalse groupby islice pairwise permutations product repeat starmap takewhile tee zip_longest
        """
    ),
    "json": _names(
        """
        JSONDecodeError JSONDecoder JSONEncoder dumps loads
        """
    ),
    "math": _names(
        """
        acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e erf erfc
        exp exp2 expm1 fabs factorial floor fmod frexp fsum gamma gcd hypot inf isclose isfinite isinf
        isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nan nextafter perm pi pow prod radians
        remainder sin sinh sqrt sumprod tan tanh tau trunc ulp
        """
    ),
    "operator": _names(
        """
        abs add and_ call concat contains countOf delitem eq floordiv ge getitem gt iadd iand iconcat
        ifloordiv ilshift imatmul imod imul index indexOf inv invert ior ipow irshift is_ is_not isub
        itemgetter itruediv ixor le length_hint lshift lt matmul mod mul ne neg not_ or_ pos pow rshift
        setitem sub truediv truth xor
        """
    ),
    "random": _names(
        """
        Random
        """
    ),
    "re": _names(
        """
        A ASCII DOTALL I IGNORECASE L LOCALE M MULTILINE Match NOFLAG Pattern RegexFlag S U UNICODE
        VERBOSE X compile error escape findall finditer fullmatch match search split sub subn
        """
    ),
    "statistics": _names(
        """
        NormalDist StatisticsError correlation covariance fmean geometric_mean harmonic_mean
        linear_regression mean median median_grouped median_high median_low mode multimode pstdev
        pvariance quantiles stdev variance
        """
    ),
    "string": _names(
        """
        Template ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits octdigits
        printable punctuation whitespace
        """
    ),
    "textwrap": _names(
        """
        TextWrapper dedent fill indent shorten wrap
        """
    ),
    "typing": _names(
        """
        AbstractSet Annotated Any AnyStr
        ByteString Callable ChainMap ClassVar Collection Concatenate Container ContextManager
        Counter DefaultDict Deque Dict Final FrozenSet Generator Generic Hashable ItemsView
        Iterable Iterator KeysView List Literal LiteralString Mapping MappingView Match MutableMapping
        MutableSequence MutableSet NamedTuple Never NewType NoReturn NotRequired Optional OrderedDict
        ParamSpec ParamSpecArgs ParamSpecKwargs Pattern Protocol Required Reversible Self Sequence Set
        Sized SupportsAbs SupportsBytes SupportsComplex SupportsFloat SupportsIndex SupportsInt
        SupportsRound TYPE_CHECKING Text Tuple Type TypeAlias TypeAliasType TypeGuard TypeVar TypeVarTuple
        TypedDict Union Unpack ValuesView assert_never assert_type cast
        dataclass_transform final get_args get_origin get_overloads is_typeddict no_type_check
        no_type_check_decorator overload override runtime_checkable
        """
    ),
}
SUBMODULES = frozenset({"collections.abc"})

_FUNCTIONS = _names(
    """
    abs all any ascii bin bool bytearray bytes callable chr classmethod complex dict divmod enumerate filter float format
    frozenset hasattr hash hex int isinstance issubclass iter len list map max memoryview min next object oct ord pow
    property range repr reversed round set slice sorted staticmethod str sum super tuple type zip
    NotImplemented Ellipsis
    """
)
_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)
)
ALLOWED_BUILTINS: frozenset[str] = _FUNCTIONS | _EXCEPTIONS
REFUSED_BUILTINS: frozenset[str] = frozenset(vars(builtins)) - ALLOWED_BUILTINS

# Attributes without an underscore that lead from a value to a frame, a code object or the namespaces of other code.
REFUSED_ATTRIBUTES: frozenset[str] = _names(
    """
    ag_await ag_code ag_frame ag_running cr_await cr_code cr_frame cr_origin cr_running gi_code gi_frame gi_running
    gi_suspended gi_yieldfrom f_back f_builtins f_code f_globals f_lasti f_lineno f_locals f_trace f_trace_lines
    f_trace_opcodes tb_frame tb_lasti tb_lineno tb_next co_code co_consts co_names co_varnames co_freevars co_cellvars
    format_map mro
    """
)

# Special methods that a class may define: none of them changes how attributes are found or when code runs unasked.
ALLOWED_SPECIAL_METHODS: frozenset[str] = frozenset(
    f"__{name}__"
    for name in _names(
        """
    init post_init lt le gt ge eq ne hash repr str len iter next reversed getitem setitem delitem contains missing call
    bool int float index abs neg pos invert round add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv
    floordiv rfloordiv ifloordiv mod rmod imod divmod rdivmod pow rpow ipow matmul rmatmul and rand iand or ror ior xor
    rxor ixor lshift rlshift ilshift rshift rrshift irshift
        """
    )
)
