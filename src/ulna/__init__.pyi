from . import encoders as encoders
from . import formats as formats
from . import preprocessing as preprocessing
from . import pretext as pretext
from . import recipes as recipes
from .batch import Batch as Batch
from .core import Clip as Clip
from .core import Skeleton as Skeleton
from .core import UlnaError as UlnaError
from .core import UlnaWarning as UlnaWarning
from .core import get_skeleton as get_skeleton
from .dataset import Dataset as Dataset
from .evaluation import EvalResult as EvalResult
from .evaluation import evaluate as evaluate
from .evaluation import fuse as fuse
from .evaluation import protocols as protocols
from .formats import read as read
from .models import Model as Model
from .models import Recipe as Recipe
from .models import load as load
from .models.search import Hit as Hit
from .models.search import SearchIndex as SearchIndex
from .training import pretrain as pretrain

__version__: str
